"""The command `rerankbench-cache`: what the store holds, how large it is, and care for it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from rerankbench.basics import printing
from rerankbench.basics.complaints import unknown_key
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import Console, say, visible
from rerankbench.commands import cli
from rerankbench.commands.cache.compact import compact
from rerankbench.commands.cache.entries import KINDS, Entry, entries
from rerankbench.commands.cache.leftovers import leftovers
from rerankbench.commands.cache.prune import chosen, refuse_unknown, remove, seconds
from rerankbench.commands.cache.verify import verify
from rerankbench.engine.store import disk

PLACE = "cache_dir="


@printing.told
@cli.command
def main(words: list[str]) -> int:
    """Returns the exit code: 0 done, 1 damaged files or nothing removed on request, 2 the user's mistake."""
    place = [word.removeprefix(PLACE) for word in words if word.startswith(PLACE)]
    keys = [word.partition("=") for word in words if "=" in word and not word.startswith(("-", PLACE))]
    if keys:
        raise UserError([unknown_key("", key, value, [PLACE.rstrip("=")]) for key, _, value in keys])
    arguments = parser().parse_args([word for word in words if not word.startswith(PLACE)])
    usual = os.environ.get("RERANKBENCH_CACHE") or "~/.cache/rerankbench"  # as the shipped config says
    if place and not place[-1].strip():
        raise UserError("cache_dir=: it is empty; give a folder, or leave it out for the usual one")
    cache_dir = Path(place[-1] if place else usual).expanduser().resolve()
    try:
        return int(arguments.run(cache_dir, arguments))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(str(disk.explained(error, {"cache_dir": cache_dir}))) from error


def parser() -> argparse.ArgumentParser:
    about = "List, check and prune what rerankbench stores for reuse."
    more = "All take cache_dir=FOLDER, as rerankbench does. A run computes again whatever\nis missing."
    top = cli.Parser("rerankbench-cache", about, epilog=more)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, run: object) -> argparse.ArgumentParser:
        own = commands.add_parser(name, help=text, description=text)
        own.set_defaults(run=run)
        return own

    kinds = f"{', '.join(KINDS)}, leftovers"
    listing = command("list", "every entry: kind, identity, size, date, what it is", list_entries)
    listing.add_argument("kinds", nargs="*", metavar="KIND", help=f"only these: {kinds}")
    command("size", "how much each kind takes", sizes)
    pruning = command("prune", "remove entries, after asking", prune)
    pruning.add_argument("kinds", nargs="*", metavar="KIND", help=f"what: {kinds}")
    pruning.add_argument(
        "--older-than", metavar="AGE", help="last written at least this long ago: 12h, 30d, 2w"
    )
    pruning.add_argument("--identity", metavar="PREFIX", help="whose identity begins with this")
    pruning.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    pruning.add_argument("--yes", action="store_true", help="do not ask")
    command("verify", "check every hash; set damaged files aside (exit code 1 if there are any)", check)
    command("compact", "merge many small files of scores into few", merge)
    return top


def list_entries(cache_dir: Path, arguments: argparse.Namespace) -> int:
    wanted = arguments.kinds
    refuse_unknown(wanted)
    found = [*entries(cache_dir), *leftovers(cache_dir)]
    show([entry for entry in found if not wanted or entry.kind in wanted], cache_dir)
    return 0


def show(found: Sequence[Entry], cache_dir: Path) -> None:
    """A table of entries and their sum."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("kind", "identity", "files", "size", "last written", "what"):
        side: Literal["left", "right"] = "right" if name in ("files", "size") else "left"
        table.add_column(name, justify=side, no_wrap=name != "what")
    for entry in found:
        short = entry.identity[: 48 if entry.kind in ("models", "wheels", "leftovers") else 12]
        size = (f"{entry.files:,}", human(entry.bytes), date(entry.modified))
        table.add_row(*map(visible, (entry.kind, short, *size, entry.label)))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(total(found, cache_dir), soft_wrap=True)


def total(found: Sequence[Entry], cache_dir: Path) -> str:
    return f"{len(found)} entries, {human(sum(entry.bytes for entry in found))}, in {cache_dir}"


def human(size: int) -> str:
    """Bytes in the unit that suits them (1 MB is 10^6 bytes)."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def date(seconds_: float) -> str:
    try:
        return datetime.fromtimestamp(seconds_).strftime("%Y-%m-%d %H:%M") if seconds_ else ""
    except (ValueError, OverflowError, OSError):  # years that no calendar has
        return ""


def sizes(cache_dir: Path, arguments: argparse.Namespace) -> int:
    found = [*entries(cache_dir), *leftovers(cache_dir)]
    for kind in (*KINDS, "leftovers"):
        of_kind = [entry for entry in found if entry.kind == kind]
        if of_kind:
            say(f"{kind:<11} {human(sum(entry.bytes for entry in of_kind)):>9}  {len(of_kind)} entries")
    say(total(found, cache_dir))
    return 0


def prune(cache_dir: Path, arguments: argparse.Namespace) -> int:
    age = None if arguments.older_than is None else seconds(arguments.older_than)
    found = chosen(cache_dir, arguments.kinds, age, arguments.identity)
    if not found:
        say(f"nothing to prune in {cache_dir}")
        return 0
    show(found, cache_dir)
    if arguments.dry_run:
        say("nothing was removed (--dry-run)")
        return 0
    if not arguments.yes and not agreed():
        say("nothing was removed")
        return 1
    busy = [entry for entry in found if not remove(entry)]
    for entry in busy:
        say(f"kept, a process is working on it: {entry.kind} {entry.identity[:12]} {entry.label}")
    say(f"removed {len(found) - len(busy)} entries")
    return 0


def agreed() -> bool:
    """Ask; nobody there to answer means no."""
    try:
        return input("remove these? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        say()
        return False


def check(cache_dir: Path, arguments: argparse.Namespace) -> int:
    entries(cache_dir)  # says so where there is no such folder
    found = verify(cache_dir)
    for path in found.damaged:
        say(f"damaged, set aside: {path.relative_to(cache_dir)}")
    say(f"{found.files:,} checked, {human(found.bytes)}, {len(found.damaged)} damaged")
    return 1 if found.damaged else 0


def merge(cache_dir: Path, arguments: argparse.Namespace) -> int:
    entries(cache_dir)
    try:
        found = compact(cache_dir)
    except OSError as error:
        raise UserError(f"{error.filename or cache_dir}: {error.strerror or error}") from None
    for folder, before, after in found:
        say(f"{folder.name[:12]}  {before} files of scores are {after} now")
    if not found:
        say("nothing to compact")
    return 0


if __name__ == "__main__":
    sys.exit(main())
