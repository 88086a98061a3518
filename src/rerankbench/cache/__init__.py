"""What lies in `cache_dir`, for `rerankbench-cache`: list, size, prune, verify, compact."""
