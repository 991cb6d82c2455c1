"""Reading results: tables of runs and of their losses. Reads a store, never changes a result; no torch."""
