"""The main path, in `pipeline.py`: collection, candidates, scores, measures; and what a run leaves behind."""
