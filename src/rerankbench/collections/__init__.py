"""Corpus, queries, judgements and runs, and the files they come from."""
