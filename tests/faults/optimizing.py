"""`python -m tests.faults.optimizing DIRECTORY VECTOR_NAME DIMENSIONS`: what `notellm-serve optimize` does, without loading torch first.

The graph is built for any number of notes: as few as a test has would be scanned.
"""

import sys
from pathlib import Path

from service.index import Graph, optimize_index

if __name__ == "__main__":
    graph = Graph(m=16, ef_construct=128, threads=1, full_scan_kib=1)
    optimize_index(Path(sys.argv[1]), vector_name=sys.argv[2], dimensions=int(sys.argv[3]), graph=graph)
