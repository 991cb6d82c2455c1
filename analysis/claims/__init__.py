"""What the papers claim, and whether runs say so: rules that were fixed before the runs, a verdict with an interval.

Ask for `claims.CLAIMS`, `verdict.judge`, `page.lines`.
"""
