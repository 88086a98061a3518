"""Scores of pairs: what is the same is scored once, and kept."""
