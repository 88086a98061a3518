"""What a person types, and all that is known about Hydra."""
