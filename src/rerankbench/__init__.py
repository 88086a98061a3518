"""rerankbench: which reranker should I deploy, at which depth, at what cost, and is the gain real?"""
