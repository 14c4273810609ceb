"""Chooses how an embedded index is searched: with a graph, with a scan, or with a graph search made for strict filters (ACORN)."""

import qdrant_edge as edge

# Number of candidates when searching a graph that `optimize_index` has built. Notes outside the graph are scanned.
_CANDIDATES = 640
# Up to this many notes, a scan is faster than a graph search.
_FEW_NOTES = 50_000
# In a graph of fewer notes than this, if a filter leaves less than this share of them, the search uses ACORN, which explores the graph
# past filtered-out notes: otherwise it finds too few. A larger graph has enough edges, and ACORN would take too long.
_SPARSE_NOTES, _SPARSE_SHARE = 400_000, 0.4


def search_params(shard: edge.EdgeShard, wanted: edge.Filter, indexed: int) -> edge.SearchParams:
    """Returns the search parameters for a filter, when `indexed` notes are in the graph.

    The payload indexes estimate how many notes a filter leaves. A filter that only excludes ids leaves nearly all notes.
    """
    if indexed and wanted.must and shard.count(edge.CountRequest(exact=False, filter=wanted)) <= _FEW_NOTES:
        return edge.SearchParams(exact=True)
    sparse = edge.AcornSearchParams(enable=True, max_selectivity=_SPARSE_SHARE) if indexed < _SPARSE_NOTES else None
    return edge.SearchParams(hnsw_ef=_CANDIDATES, acorn=sparse)
