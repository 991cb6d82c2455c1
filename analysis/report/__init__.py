"""A fit on a page that can be published: Markdown with its figures, or one HTML file.

Ask for `fit_report` and `page`.
"""
