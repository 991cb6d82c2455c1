"""What was found, as people read it: a fit on a page (Markdown with its figures, or one HTML file), runs as a table, a
decision as lines of a terminal and as a figure.

Ask for `fit_report`, `blocks`, `page`, `runs_table`, `show`, `decision_lines.lines`, `further_lines` and
`decision_drawing.draw`.
"""
