"""Speed on this machine against what a user would have otherwise: `make bench`, `python -m benchmarks [name ...]`."""

import os

# Before numpy is loaded. Of small matrices, threads do nothing sooner, and where other work keeps the cores busy they
# wait for each other: fits took four times the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
