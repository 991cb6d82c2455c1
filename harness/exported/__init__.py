"""A stored model as others read it: its folder, its card, and its way to a hub.

Ask for `folder.write`, `card.card`, `upload.push`.
"""
