"""The main path, in `pipeline.py`: collection, candidates, scores, measures."""
