"""Finished runs as arms: each with its name and its value for every query."""
