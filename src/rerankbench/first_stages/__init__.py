"""Candidates: dense, BM25, hybrid and run files, with embedding and indexes."""
