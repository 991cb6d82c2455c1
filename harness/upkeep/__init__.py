"""What of a store is needed by whom, and what may go.

Ask for `needs.wanted`, `unneeded.unneeded`, `unneeded.only_of`, `verification.verify`.
"""
