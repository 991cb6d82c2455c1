"""Where texts come from: recipes (what a corpus is, by content), users' files, installed packages.

Ask for `recipe.embedded`, `recipe.local`, `local.local_documents`, `embedded.documents`.
"""
