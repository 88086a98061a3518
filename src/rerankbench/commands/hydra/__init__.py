"""From typed words and config files to typed settings, and all that is known about Hydra."""
