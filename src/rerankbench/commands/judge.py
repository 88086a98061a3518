"""The command: `rerankbench-judge FOLDER [...] [--export FILE | --import FILE] [judge.KEY=VALUE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rerankbench.basics import printing
from rerankbench.basics.visible import say
from rerankbench.commands import cli

EPILOG = """examples:
  rerankbench-judge multirun/2026-01-31/12-00-00
  rerankbench-judge multirun/2026-01-31/12-00-00 --export pairs.csv
  rerankbench-judge multirun/2026-01-31/12-00-00 --import pairs.csv --judge anna
  rerankbench-judge multirun/2026-01-31/12-00-00 --status
then: rerankbench-report multirun/2026-01-31/12-00-00"""


@printing.command
def main(argv: Sequence[str] | None = None) -> int:
    """Judge; returns the exit code: 0 done, 2 the user's mistake."""
    return cli.run(command, argv)


def command(argv: list[str]) -> int:
    from rerankbench.judging.session import Session

    words = parser().parse_intermixed_args(argv)
    session = Session.of(words.places, words.folder, words.judge, words.cutoff, words.pool, words.highest)
    if words.export is not None:
        say(*session.export(words.export, words.count))
    elif words.imported is not None:
        say(*session.take_in(words.imported))
    say(*session.lines())
    return 0


def parser() -> argparse.ArgumentParser:
    made = cli.Parser(
        prog="rerankbench-judge",
        description="Judge the pairs of query and document that decide between the arms of a sweep.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("places", nargs="+", metavar="FOLDER", help="folders of runs or sweeps")
    made.add_argument("--export", type=Path, metavar="FILE", help="write pairs to judge as CSV")
    made.add_argument("--import", dest="imported", type=Path, metavar="FILE", help="read judged CSV")
    made.add_argument("--count", type=number, help="how many pairs (default: as many as are likely needed)")
    made.add_argument("--judge", default="me", metavar="NAME", help="who judges (default: me)")
    made.add_argument("--pool", type=number, metavar="K", help="judge all first K ranks instead")
    made.add_argument("--cutoff", type=number, default=10, metavar="K", help="ranks that count (default: 10)")
    made.add_argument("--highest", type=number, default=3, metavar="GRADE", help="of the grades (default: 3)")
    made.add_argument("--folder", type=Path, help="where judgements are kept (default: FOLDER/judging)")
    made.add_argument("--status", action="store_true", help="only say where judging stands")
    return made


def number(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")


if __name__ == "__main__":
    sys.exit(main())
