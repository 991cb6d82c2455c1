"""Corpora: texts become tokens in shards, read as windows and drawn into batches.

Ask for `corpus.build`, `corpus.open_corpus`, `batches.Batches`, `tokenizer.train`.
"""
