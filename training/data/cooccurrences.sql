-- How often notes follow each other (arXiv 2403.01744, section 3.1):
--   s(A -> B) = sum of 1 / N_u over the users u who viewed A and then clicked B,  N_u = number of notes that u clicked.
-- A user counts once for each (A, B). After each view, only the user's next $successors visits to notes are considered; null sets no
-- limit, as in the paper, and a user with n visits then costs n * n.
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

marked as (
    select *, coalesce(lag(note_id) over (partition by user_id order by position) <> note_id, true) as begins
    from ordered
),

-- A visit: consecutive events of a user on one note. A video that sends an event every five seconds is watched once, and takes one
-- place. Of a visit, its last view and its first click count: no other view and click of two visits are closer to each other.
visits as (
    select
        user_id,
        note_id,
        place,
        max(moment) filter (where $view_events is null or list_contains($view_events, event_type)) as last_view,
        min(moment) filter (where $click_events is null or list_contains($click_events, event_type)) as first_click
    from (select *, (sum(begins::integer) over (partition by user_id order by position))::bigint as place from marked)
    group by user_id, note_id, place
),

views as (
    select user_id, note_id, place, last_view
    from visits
    where last_view is not null
),

clicks as (
    select user_id, note_id, place, first_click
    from visits
    where first_click is not null
),

-- One row per next place, to join by equality: a join by "between" would compare all visits of a user with each other.
near as (
    select *, unnest(range(place + 1, place + $successors + 1)) as next_place
    from views
    where $successors is not null
),

-- Without a cap all visits of a user are compared. If there is no time window either, a note's first view and last click are enough.
first_views as (
    select *
    from views
    where $successors is null
    qualify $window_seconds is not null or row_number() over (partition by user_id, note_id order by place) = 1
),

last_clicks as (
    select *
    from clicks
    where $successors is null
    qualify $window_seconds is not null or row_number() over (partition by user_id, note_id order by place desc) = 1
),

followed as (
    select distinct viewed.user_id, viewed.note_id as source, clicked.note_id as target
    from near as viewed
    join clicks as clicked on viewed.user_id = clicked.user_id and viewed.next_place = clicked.place
    where viewed.note_id <> clicked.note_id
        and ($window_seconds is null or clicked.first_click - viewed.last_view <= $window_seconds)
    union
    select viewed.user_id, viewed.note_id as source, clicked.note_id as target
    from first_views as viewed
    join last_clicks as clicked on viewed.user_id = clicked.user_id and viewed.place < clicked.place
    where viewed.note_id <> clicked.note_id
        and ($window_seconds is null or clicked.first_click - viewed.last_view <= $window_seconds)
)

-- Threads add in any order. Without rounding, the last digits, and so the order of equal scores, would change from run to run.
select f.source, f.target, round(sum(1.0 / c.size), 12) as score, count(*) as users
from followed as f
join clicked_sets as c on f.user_id = c.user_id
group by f.source, f.target
