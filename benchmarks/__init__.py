"""Speed on this machine, against what a user would have otherwise: `make bench`, or `python -m benchmarks [name ...]`."""
