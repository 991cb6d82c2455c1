"""What was found, as people read it: a fit on a page (Markdown with its figures, or one HTML file), runs as a table.

Ask for `fit_report`, `page` and `runs_table`.
"""
