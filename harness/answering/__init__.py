"""From a question in a file to runs, round by round: what is asked, what is tried first, what a store keeps of it.

Ask for `question.read_question`, `first.first_rows`, `first.farthest`, `rounds.Rounds`.
"""
