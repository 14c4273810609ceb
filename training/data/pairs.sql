-- Related pairs (arXiv 2403.01744, section 3.1):
--   s(A -> B) = sum over the users who viewed A and then clicked B of 1 / N_u,  N_u = notes that the user clicked.
-- A user counts once for each (A, B). Only the next $successors events of a user are looked at after each event: without that
-- cap a user with n events costs n * n. Pairs with s > $max_score or s < $min_score are dropped, then the $per_note best
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

-- An equality for each of the next positions: a join by "between" would compare all events of a user with each other.
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
    -- Threads add up in any order: without rounding, the last digits, and with them the order of equals, change from run to run.
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
