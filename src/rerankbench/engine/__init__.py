"""How models run: batches, hardware, tokens, and the store of what they computed."""
