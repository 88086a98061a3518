"""Errors, progress, files and texts as they may be read and shown: what everything else may import."""
