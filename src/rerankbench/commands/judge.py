"""The command: `rerankbench-judge FOLDER [...] [--export FILE | --import FILE] [judge.KEY=VALUE]`."""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import say
from rerankbench.commands import cli
from rerankbench.commands.ui import LAST_PORT

if TYPE_CHECKING:
    from rerankbench.judging.language_model.model_settings import ModelSettings
    from rerankbench.judging.session import Session

GROUPS = ("judge.", "dataset.")
MOST_GRADE = 100  # each has a button
EPILOG = """examples:
  rerankbench-judge multirun/2026-01-31/12-00-00
  rerankbench-judge multirun/2026-01-31/12-00-00 --export pairs.csv
  rerankbench-judge multirun/2026-01-31/12-00-00 --import pairs.csv --judge anna
  rerankbench-judge multirun/2026-01-31/12-00-00 --status
  rerankbench-judge multirun/2026-01-31/12-00-00 judge.url=http://127.0.0.1:8000/v1 judge.model=NAME
  rerankbench-judge --make-queries 50 dataset.corpus=docs.jsonl judge.url=ADDRESS judge.model=NAME
settings: judge.url, judge.model, judge.key_variable, judge.prompt, judge.temperature, judge.max_tokens,
  judge.concurrency, judge.timeout, judge.retries, judge.budget_requests, judge.budget_money,
  judge.price_per_million_input, judge.price_per_million_output, judge.price_per_request
then: rerankbench-report multirun/2026-01-31/12-00-00"""


@printing.command
@cli.command
def main(argv: list[str]) -> int:
    """Judge; returns the exit code: 0 done, 2 the user's mistake."""
    from rerankbench.judging.qrels import MODEL, PERSON
    from rerankbench.judging.record import judge_name
    from rerankbench.judging.session import Session

    words = parser().parse_intermixed_args(argv)
    if words.port > LAST_PORT:
        raise UserError(f"--port {words.port}: choose 0 to {LAST_PORT}")
    settings = [word for word in words.places if word.startswith(GROUPS) and not Path(word).exists()]
    places = [word for word in words.places if word not in settings]
    if words.make_queries is not None:
        make_queries(settings, places, words.make_queries, words.out, words.cache_dir)
        return 0
    if not places:
        raise UserError("no folder given: rerankbench-judge FOLDER")
    model = model_of(settings)
    name = judge_name(PERSON, words.judge) if model is None else judge_name(MODEL, model.model)
    session = Session.of(
        places, words.folder, name, words.cutoff, words.pool, words.highest, words.check or 0
    )
    if model is not None:
        ask_model(session, model)
    elif words.export is not None:
        say(*session.export(words.export, words.count))
    elif words.imported is not None:
        say(*session.take_in(words.imported))
    elif not words.status:
        serve(session, words.port, not words.no_browser)
    say(*session.lines())
    return 0


def model_of(words: Sequence[str]) -> ModelSettings | None:
    """The language model that is to judge; None where none is named. Raises UserError with every mistake."""
    from rerankbench.basics.typed_settings import convert
    from rerankbench.commands.report import put
    from rerankbench.judging.language_model.model_settings import ModelSettings

    values: dict[str, dict[str, object]] = {"judge": {}}
    problems = [f"{word}: settings here start with judge." for word in words if not word.startswith("judge.")]
    for word in words:
        if word.startswith("judge."):
            put(values, word, problems)
    if not values["judge"] and not problems:
        return None
    found = convert(ModelSettings, values["judge"], "judge.", problems)
    problems += found.problems() if found is not None else []
    if problems or found is None:
        raise UserError(problems)
    return found


def ask_model(session: Session, settings: ModelSettings) -> None:
    """Have a language model judge. Raises UserError where its server fails; what it answered is kept."""
    from rerankbench.judging.language_model.chat import Chat
    from rerankbench.judging.language_model.model import ModelJudge
    from rerankbench.judging.record import HIGHEST

    if settings.prompt is None and session.highest != HIGHEST:
        raise UserError(
            f"--highest {session.highest}: the usual prompt asks for grades from 0 to {HIGHEST}; give your "
            "own with judge.prompt=FILE"
        )
    assert session.texts
    chat = Chat(settings, session.record.folder)
    judge = ModelJudge(session, chat, say)
    try:
        judge.run()
    finally:
        chat.close()
        say(*judge.lines())


def make_queries(words: Sequence[str], places: Sequence[str], count: int, out: Path, cache_dir: Path) -> None:
    """Have a language model write queries for a corpus. Raises UserError."""
    from rerankbench.judging.language_model import synthetic
    from rerankbench.judging.language_model.chat import Chat
    from rerankbench.judging.language_model.synthetic import corpus_of

    given = [word.removeprefix("dataset.corpus=") for word in words if word.startswith("dataset.corpus=")]
    if len(given) != 1 or places:
        raise UserError("--make-queries: give one dataset.corpus=FILE, and no folder")
    settings = model_of([word for word in words if not word.startswith("dataset.corpus=")])
    if settings is None:
        raise UserError("--make-queries: give judge.url=ADDRESS judge.model=NAME")
    with closing(Chat(settings, out.absolute().parent)) as chat:
        made = synthetic.queries(corpus_of(given[0], cache_dir.expanduser()), count, chat, say)
    synthetic.write(out, made)
    say(
        f"wrote      {len(made):,} synthetic queries to {out}, written by {settings.model}",
        "note       each repeats words of its document, which favours what matches words",
        f"next       rerankbench -m dataset=files dataset.corpus={given[0]} dataset.queries={out}",
    )


def serve(session: Session, port: int, browser: bool) -> None:
    """Show the page until the command is stopped."""
    import uvicorn

    from rerankbench.judging.page import HOST, page
    from rerankbench.judging.queue import Queue

    assert session.texts  # what cannot be shown is told before there is a page
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:  # as asyncio wants it named, to send at once
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # before the address is told: two that are bound only may have the same port
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
    about = "Judge the pairs of query and document that decide between the arms of a sweep."
    made = cli.Parser("rerankbench-judge", about, epilog=EPILOG)
    places = "folders of runs or sweeps, settings"
    made.add_argument("places", nargs="*", metavar="FOLDER|KEY=VALUE", help=places)
    made.add_argument("--export", type=Path, metavar="FILE", help="write pairs to judge as CSV")
    made.add_argument("--import", dest="imported", type=Path, metavar="FILE", help="read judged CSV")
    made.add_argument("--count", type=number, help="how many pairs (default: as many as are probably needed)")
    made.add_argument("--judge", default="me", metavar="NAME", help="who judges (default: me)")
    made.add_argument(
        "--pool", type=number, metavar="K", help="judge every document on the first K ranks instead"
    )
    made.add_argument("--check", type=number, metavar="N", help="judge N pairs again that others have judged")
    made.add_argument(
        "--cutoff", type=number, default=10, metavar="K", help="how many ranks count (default: 10)"
    )
    made.add_argument("--highest", type=grade, metavar="GRADE", help="the highest grade (default: 3)")
    made.add_argument("--folder", type=Path, help="where judgements are kept (default: FOLDER/judging)")
    made.add_argument("--port", type=port, default=0, help="the page's port (default: a free one)")
    made.add_argument("--no-browser", action="store_true", help="only print the page's address")
    made.add_argument("--make-queries", type=number, metavar="N", help="have the model write queries")
    made.add_argument("--out", type=Path, default=Path("queries.jsonl"), help="where to write the queries")
    made.add_argument("--cache-dir", type=Path, default=Path("~/.cache/rerankbench"), help="for their corpus")
    made.add_argument("--status", action="store_true", help="only show how far judging has come")
    return made


def number(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")


def grade(text: str) -> int:
    if (found := number(text)) > MOST_GRADE:
        raise argparse.ArgumentTypeError(f"{found} is too high; choose 1 to {MOST_GRADE}")
    return found


def port(text: str) -> int:
    return 0 if text == "0" else number(text)


if __name__ == "__main__":
    sys.exit(main())
