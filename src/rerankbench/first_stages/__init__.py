"""The first stage: one file per way to find candidates."""
