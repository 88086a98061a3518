"""How models run: batches, hardware, tokens."""
