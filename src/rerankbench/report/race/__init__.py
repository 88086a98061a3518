"""What arms cost, measured in turns: one process for each model and first stage, query by query."""
