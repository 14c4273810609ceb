"""How an embedded index is searched: by a graph, by a scan, or round what a filter leaves out."""

import qdrant_edge as edge

# Candidates of a search in a graph that `optimize_index` has built. What is in no graph is scanned.
_CANDIDATES = 640
# So few notes are scanned faster than a way to them is found in a graph.
_FEW_NOTES = 50_000
# In a graph of fewer notes, where a filter leaves less than that share of them, a search goes round those that it leaves out (ACORN): else
# it finds too few. In a larger graph there are edges enough, and the way round takes too long.
_SPARSE_NOTES, _SPARSE_SHARE = 400_000, 0.4


def search_params(shard: edge.EdgeShard, wanted: edge.Filter, indexed: int) -> edge.SearchParams:
    """For the notes that a filter leaves, of an index that has so many in its graph.

    A filter by what payload indexes hold tells about how many notes it leaves; one by ids alone leaves nearly all.
    """
    if indexed and wanted.must and shard.count(edge.CountRequest(exact=False, filter=wanted)) <= _FEW_NOTES:
        return edge.SearchParams(exact=True)
    sparse = edge.AcornSearchParams(enable=True, max_selectivity=_SPARSE_SHARE) if indexed < _SPARSE_NOTES else None
    return edge.SearchParams(hnsw_ef=_CANDIDATES, acorn=sparse)
