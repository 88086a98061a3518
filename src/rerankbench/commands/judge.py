"""The command: `rerankbench-judge FOLDER [...] [--export FILE | --import FILE] [judge.KEY=VALUE]`."""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import say
from rerankbench.commands import cli

if TYPE_CHECKING:
    from rerankbench.judging.session import Session

LAST_PORT = 65_535
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
    if words.port > LAST_PORT:
        raise UserError(f"--port {words.port}: choose 0 to {LAST_PORT}")
    session = Session.of(
        words.places, words.folder, words.judge, words.cutoff, words.pool, words.highest, words.check or 0
    )
    if words.export is not None:
        say(*session.export(words.export, words.count))
    elif words.imported is not None:
        say(*session.take_in(words.imported))
    elif not words.status:
        serve(session, words.port, not words.no_browser)
    say(*session.lines())
    return 0


def serve(session: Session, port: int, browser: bool) -> None:
    """Show the page until the command is stopped."""
    import uvicorn

    from rerankbench.judging.page import HOST, page
    from rerankbench.judging.queue import Queue

    assert session.texts  # what cannot be shown is told before there is a page
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {str(error.strerror).lower()}; leave --port out") from None
        port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        app = page(Queue(session), token, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
        url = f"http://{HOST}:{port}/{token}/"
        say(f"judge      {url}", "           (stop with Ctrl-C; every answer is saved at once)")
        if browser:
            webbrowser.open(url)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


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
    made.add_argument("--check", type=number, metavar="N", help="judge N pairs that others judged once more")
    made.add_argument("--cutoff", type=number, default=10, metavar="K", help="ranks that count (default: 10)")
    made.add_argument("--highest", type=number, default=3, metavar="GRADE", help="of the grades (default: 3)")
    made.add_argument("--folder", type=Path, help="where judgements are kept (default: FOLDER/judging)")
    made.add_argument("--port", type=port, default=0, help="of the page (default: a free one)")
    made.add_argument("--no-browser", action="store_true", help="only print the page's address")
    made.add_argument("--status", action="store_true", help="only say where judging stands")
    return made


def number(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")


def port(text: str) -> int:
    return 0 if text == "0" else number(text)


if __name__ == "__main__":
    sys.exit(main())
