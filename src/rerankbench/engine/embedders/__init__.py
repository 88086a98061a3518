"""Models that turn texts into vectors, for dense retrieval and for rerankers."""
