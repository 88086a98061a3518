"""What scores can tell beside the plain arms: cascades, fusions and early exits, at no further scoring."""
