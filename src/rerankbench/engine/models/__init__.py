"""Models on disk: what a reference leads to, what a folder holds, how it is loaded."""
