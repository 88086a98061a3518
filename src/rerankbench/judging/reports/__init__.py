"""What sweeps without judgements, or with few, show."""
