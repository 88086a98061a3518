"""What arms cost, as far as it was measured, and whether that is within a budget."""
