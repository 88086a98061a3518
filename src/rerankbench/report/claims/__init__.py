"""What may be claimed of arms, what to choose anyway, and the sentence for it."""
