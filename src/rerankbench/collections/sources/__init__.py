"""Where collections come from: one file per kind, each a frozen dataclass of its config keys."""
