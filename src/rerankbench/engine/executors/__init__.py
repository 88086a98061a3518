"""Where the work runs: one file per kind of executor."""
