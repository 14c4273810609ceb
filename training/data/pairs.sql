-- Related pairs (arXiv 2403.01744, section 3.1):
--   s(A -> B) = sum of 1 / N_u over the users u who viewed A and then clicked B,  N_u = number of notes that u clicked.
-- A user counts once for each (A, B). After each event, only the next $successors events of the user are considered: without this
-- cap, a user with n events would cost n * n. Pairs with s > $max_score or s < $min_score are dropped. Then the $per_note best
-- successors of each A are kept, ties in the order of their ids.
with allowed_events as (
    select e.user_id, e.note_id, e.event_type, e.moment
    from events as e
    semi join allowed_notes as n on e.note_id = n.note_id
    where e.moment >= coalesce($start, e.moment) and ($end is null or e.moment < $end)
),

clicked_sets as (
    select user_id, count(distinct note_id) as size
    from allowed_events
    where $click_events is null or list_contains($click_events, event_type)
    group by user_id
),

ordered as (
    select *, row_number() over (partition by user_id order by moment, note_id, event_type) as position
    from allowed_events
),

-- One row per next position, to join by equality: a join by "between" would compare all events of a user with each other.
viewed_events as (
    select *, unnest(range(position + 1, position + $successors + 1)) as next_position
    from ordered
    where $view_events is null or list_contains($view_events, event_type)
),

followed as (
    select distinct viewed.user_id, viewed.note_id as source, clicked.note_id as target
    from viewed_events as viewed
    join ordered as clicked on viewed.user_id = clicked.user_id and viewed.next_position = clicked.position
    where viewed.note_id <> clicked.note_id
        and ($window_seconds is null or clicked.moment - viewed.moment <= $window_seconds)
        and ($click_events is null or list_contains($click_events, clicked.event_type))
),

scored as (
    -- Threads add in any order. Without rounding, the last digits, and so the order of equal scores, would change from run to run.
    select f.source, f.target, round(sum(1.0 / c.size), 12) as score
    from followed as f
    join clicked_sets as c on f.user_id = c.user_id
    group by f.source, f.target
    having count(*) >= $min_users and score between $min_score and $max_score
)

select source, target, score
from scored
qualify row_number() over (partition by source order by score desc, target) <= $per_note
order by score desc, source, target
