"""Text as arithmetic: formulas of laws with their derivatives, `--map` and `--where` over the columns of a table.

Ask for `formula.Form` and `expressions.evaluate`.
"""
