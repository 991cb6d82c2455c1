"""Speed on this machine against what a user would have otherwise: `make bench`, `python -m benchmarks [name ...]`."""
