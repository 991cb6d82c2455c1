"""Corpora in a store: tokens in shards, read as windows and drawn into batches.

Ask for `corpus.open_corpus`, `batches.Batches`, `tokenizer.train`.
"""
