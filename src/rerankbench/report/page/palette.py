"""Colours of the plots: fixed ones for files, and placeholders that become the page's variables."""

from __future__ import annotations

from dataclasses import dataclass

MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Palette:
    """ink: text; soft: axes and lesser text; line: grid; accent: the recommended arm; series: the curves."""

    ink: str
    soft: str
    line: str
    paper: str
    accent: str
    series: tuple[str, ...]

    def of(self, number: int) -> str:
        return self.series[number % len(self.series)]


BOLD = ("#2563a8", "#c2571a", "#7a4fa3", "#2e7d4f", "#b23a5e", "#8f6d12", "#2b8290", "#6b7280")
LIGHT = Palette("#1d2329", "#5c6670", "#e3e6e9", "#ffffff", "#0f766e", series=BOLD)
# No plot has these colours, so each can be replaced by a variable that follows the reader's light or dark.
NUMBERED = tuple(f"#0102{number:02x}" for number in range(8))
PLACES = Palette("#010101", "#010102", "#010103", "#010104", "#010105", series=NUMBERED)


def variables() -> dict[str, str]:
    """Placeholder to CSS variable."""
    names = {name: colour for name, colour in vars(PLACES).items() if name != "series"}
    names |= {f"series-{number}": colour for number, colour in enumerate(PLACES.series)}
    return {colour: f"var(--{name})" for name, colour in names.items()}
