"""rerankbench-check: what is wrong with a collection or a run before anything is spent on it."""
