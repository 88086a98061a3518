"""The second stage: one file per family of rerankers."""
