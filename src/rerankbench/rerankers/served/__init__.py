"""Rerankers behind HTTP: what is asked of a server, what it answers, and what that costs."""
