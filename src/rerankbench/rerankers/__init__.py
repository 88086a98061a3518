"""Rerankers, one file per family, and the scores of pairs."""
