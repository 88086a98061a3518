"""What `rerankbench-check` looks for: one file for each kind of oddity."""
