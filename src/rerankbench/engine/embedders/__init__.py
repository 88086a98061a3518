"""Models that turn one text into vectors, and what they have embedded: dense retrieval and rerankers share it."""
