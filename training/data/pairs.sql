-- Related pairs (arXiv 2403.01744, section 3.1): co-occurrences with s > $max_score or s < $min_score are dropped. Then the $per_note
-- best successors of each A are kept, ties in the order of their ids.
select source, target, score
from cooccurrences
where users >= $min_users and score between $min_score and $max_score
qualify row_number() over (partition by source order by score desc, target) <= $per_note
order by score desc, source, target
