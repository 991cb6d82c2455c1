"""From the runs of one model to a recipe: what to set, what it forgets and adapts, and how sure that is.

Ask for `decision.decide`, `decision.Question`, `arms.arms_of`, `ends.ends_of_store`, `ends.ends_of_table`.
"""
