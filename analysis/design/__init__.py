"""Which runs next: those that narrow an answer most for their cost.

Ask for `next_runs.next_runs`, `questions.Question`.
"""
