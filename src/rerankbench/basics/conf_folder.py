"""Where the shipped configs are."""

from __future__ import annotations

from pathlib import Path


def conf_folder() -> Path:
    """The shipped configs: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "conf", package.parents[1] / "conf")
    return next(place for place in places if (place / "config.yaml").is_file())
