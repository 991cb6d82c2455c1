"""The production run is no run of the grid: it is longer, and may repeat its domain data. What is known of that.

Ask for `longer.longer_run`, `lengths.lengths_of` and `scarce.scarce_data`.
"""
