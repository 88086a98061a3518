"""Layers of models rewritten to run faster, with the same results."""
