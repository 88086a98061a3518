"""An arm as a service: what was measured, answering requests."""
