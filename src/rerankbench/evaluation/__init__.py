"""Measures, the orders that scores imply, and what a difference between them proves."""
