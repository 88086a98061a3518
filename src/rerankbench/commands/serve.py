"""The command `rerankbench-serve SWEEP|RUN|deploy.yaml`: an arm as a service."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.quiet_libraries import quiet_libraries
from rerankbench.basics.visible import say, visible
from rerankbench.commands import cli
from rerankbench.commands.report import earlier_race, usual
from rerankbench.commands.ui import LAST_PORT
from rerankbench.report import deployment, runs
from rerankbench.report.deployment import Deployment
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.runs import Run
from rerankbench.report.settings import Report
from rerankbench.rerankers.served.address import url_problems
from rerankbench.serving.client import SHAPES, Client
from rerankbench.serving.limits import Limits

EPILOG = """examples:
  rerankbench-serve multirun/2026-01-31/12-00-00
  rerankbench-serve deploy.yaml --port 9000
  rerankbench-serve multirun/2026-01-31/12-00-00 --arm minilm@10 --arm base@50
  curl http://127.0.0.1:8080/rerank -d '{"query": "a question", "documents": ["one text", "another"]}'"""
HOST, PORT = "127.0.0.1", 8080
KEY = "RERANKBENCH_SERVE_KEY"
MOST_CLIENTS = 256


@printing.command
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code: 0 stopped, 2 the user's mistake."""
    return cli.run(command, argv)


def command(argv: list[str]) -> int:
    words = parser().parse_args(argv)
    quiet_libraries()
    problems = limits_of(words).problems() + address_problems(words) + check_problems(words)
    if problems:
        raise UserError(problems)
    return check(words) if words.check else serve(words)


def parser() -> argparse.ArgumentParser:
    made = cli.Parser(
        prog="rerankbench-serve",
        description="Serve the arm that a report recommends, exactly as it was measured.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "place", type=Path, metavar="SWEEP|RUN|deploy.yaml", help="a folder of runs, or the file"
    )
    made.add_argument(
        "--arm",
        action="append",
        default=[],
        metavar="NAME",
        help="another arm of the report; several: the page switches between them",
    )
    made.add_argument(
        "--host",
        default=HOST,
        help=f"default {HOST}; another one than this machine's own needs a key in {KEY}",
    )
    made.add_argument("--port", type=int, default=PORT, help=f"default {PORT}")
    made.add_argument(
        "--trust",
        action="store_true",
        help="run code that a model brings, and send texts to servers, as the file says",
    )
    add_limits(made.add_argument_group("what is refused"), Limits())
    add_check(made.add_argument_group("is it what was measured?"))
    return made


def add_limits(made: argparse._ArgumentGroup, usual: Limits) -> None:
    made.add_argument("--max-documents", type=int, default=usual.documents, help="texts of one request")
    made.add_argument("--max-characters", type=int, default=usual.characters, help="of one text")
    made.add_argument("--max-bytes", type=int, default=usual.bytes, help="of one request")
    made.add_argument(
        "--seconds", type=float, default=usual.seconds, help="a request may take, waiting included"
    )
    made.add_argument(
        "--waiting", type=int, default=usual.waiting, help="requests that may wait; others are told 429"
    )


def add_check(check: argparse._ArgumentGroup) -> None:
    check.add_argument(
        "--check",
        action="store_true",
        help="replay the evaluation's queries against the running service, and compare",
    )
    check.add_argument("--url", help="of the service (default: of this command on --host and --port)")
    check.add_argument(
        "--shape", choices=sorted(SHAPES), default="jina", help="how it is asked (default jina)"
    )
    check.add_argument("--model", help="what it calls the model (default: the arm's name)")
    check.add_argument("--key-variable", metavar="NAME", help=f"the variable with its key (default {KEY})")
    check.add_argument("--clients", type=int, default=4, help="that ask at the same time (default 4)")


def limits_of(words: argparse.Namespace) -> Limits:
    w = words
    return Limits(w.max_documents, w.max_characters, w.max_bytes, w.seconds, w.waiting)


def address_problems(words: argparse.Namespace) -> list[str]:
    from rerankbench.serving.server import is_loopback

    found = []
    if not 1 <= words.port <= LAST_PORT:
        found.append(f"--port {words.port}: choose 1 to {LAST_PORT}")
    if not is_loopback(words.host) and not os.environ.get(KEY):
        found.append(
            f"--host {words.host}: others could reach it there; set a key that they have to give, "
            f"{KEY}=KEY, or leave --host out"
        )
    return found


def check_problems(words: argparse.Namespace) -> list[str]:
    found = [f"--url {words.url}: {line}" for line in url_problems(words.url)] if words.url else []
    if not 1 <= words.clients <= MOST_CLIENTS:
        found.append(f"--clients {words.clients}: choose 1 to {MOST_CLIENTS}")
    if words.key_variable and not os.environ.get(words.key_variable):
        found.append(f"--key-variable {words.key_variable}: this variable is not set")
    return found


def check(words: argparse.Namespace) -> int:
    """Replay, compare, say; returns 0 where it is what was measured, 1 where it is not."""
    from rerankbench.serving.check import compared

    [found] = deployments(words.place, words.arm[:1])
    place = words.place if words.place.is_dir() else words.place.parent
    host = f"[{words.host}]" if ":" in words.host else words.host
    url = words.url or f"http://{host}:{words.port}"
    key = os.environ.get(words.key_variable or KEY) or None
    if key and not words.key_variable and words.url:
        key = None  # our own key is not for others
    client = Client(url, SHAPES[words.shape], words.model or found.arm, key)
    drifted = False
    done, usual_one = measured(place)
    measure = str(found.figures.get("measure") or usual_one)
    for each in compared(found, done, measure, client, words.clients, own=words.url is None):
        say(*each.lines())
        drifted |= each.drifted
    return int(drifted)


def measured(place: Path) -> tuple[list[Run], str]:
    """The runs of a folder, and the measure that they are compared by."""
    found = runs.find([place])
    return found, usual(found)


def serve(words: argparse.Namespace) -> int:
    """Load, announce, answer until it is stopped."""
    from rerankbench.serving import arm as arms
    from rerankbench.serving.models import Models
    from rerankbench.serving.server import bound, server_of
    from rerankbench.serving.service import Service

    found = deployments(words.place, words.arm)
    refuse_untrusted(found, words.trust)
    models, socket = Models(), bound(words.host, words.port)
    home = (words.place if words.place.is_dir() else words.place.parent).absolute()
    loaded = [arms.load(each, models, home) for each in found]
    service = Service(loaded, models, limits_of(words), os.environ.get(KEY) or None)
    names = ", ".join(each.name for each in loaded)
    host = f"[{words.host}]" if ":" in words.host else words.host
    say(f"serving {names} at http://{host}:{socket.getsockname()[1]}")
    server_of(service).run([socket])
    return 0


def deployments(place: Path, names: Sequence[str]) -> list[Deployment]:
    """The file's arm, or arms by their names in the report of a folder. Raises UserError."""
    if not place.exists():
        raise UserError(
            f"{visible(place)}: there is no such file or folder; give a sweep's folder or deploy.yaml"
        )
    file = place / deployment.FILE if place.is_dir() else place
    if not names and file.exists():
        return [deployment.read(file)]
    if not place.is_dir():
        place = place.parent
    findings = findings_of(place)
    if not names:
        found = deployment.of(findings)
        if found is None:
            raise UserError(f"{visible(place)}: nothing is recommended there; choose one with --arm NAME")
        return [found]
    return [each for name in names if (each := deployment.of(findings, name))]


def findings_of(place: Path) -> Findings:
    """What the report of a folder of runs says."""
    found, measure = measured(place)
    return find_out(found, Report(measure=measure), earlier_race(found, [place], place))


def refuse_untrusted(found: Sequence[Deployment], trusted: bool) -> None:
    """Raise UserError where a file would run code of its models, or have texts sent away."""
    from rerankbench.serving.trust import problems

    lines = [] if trusted else [line for each in found for line in problems(each)]
    if lines:
        raise UserError(list(dict.fromkeys(lines)))


if __name__ == "__main__":
    sys.exit(main())
