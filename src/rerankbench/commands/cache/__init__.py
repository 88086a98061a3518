"""rerankbench-cache: what is stored, how large it is, and whether it is whole."""
