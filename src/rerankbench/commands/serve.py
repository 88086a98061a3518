"""The command `rerankbench-serve SWEEP|RUN|deploy.yaml`: an arm as a service."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.quiet_libraries import quiet_libraries
from rerankbench.basics.visible import say, visible
from rerankbench.commands import cli
from rerankbench.commands.report import earlier_race, unjudged, usual
from rerankbench.commands.ui import LAST_PORT
from rerankbench.report import deployment
from rerankbench.report.arms import runs
from rerankbench.report.arms.runs import Run
from rerankbench.report.deployment import Deployment
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.settings import Report
from rerankbench.report.wording import first_of
from rerankbench.rerankers.served.address import url_problems
from rerankbench.rerankers.served.key import Key
from rerankbench.serving.client import SHAPES, Client
from rerankbench.serving.limits import Limits

if TYPE_CHECKING:
    from socket import socket

    from rerankbench.serving.service import Service

EPILOG = """examples:
  rerankbench-serve multirun/2026-01-31/12-00-00
  rerankbench-serve deploy.yaml --port 9000
  rerankbench-serve multirun/2026-01-31/12-00-00 --arm minilm@10 --arm base@50
  curl http://127.0.0.1:8080/rerank -d '{"query": "a question", "documents": ["one text", "another"]}'"""
HOST, PORT = "127.0.0.1", 8080
KEY = "RERANKBENCH_SERVE_KEY"
MOST_CLIENTS = 256


@printing.command
@cli.command
def main(argv: list[str]) -> int:
    """Serve until interrupted; returns the exit code: 0 stopped, 2 the user's mistake."""
    words = read(argv)
    quiet_libraries()
    return check(words) if words.check else serve(words)


def read(argv: list[str]) -> argparse.Namespace:
    """What was typed. Raises UserError with everything that is wrong in the words themselves."""
    words = parser().parse_args(argv)
    problems = limits_of(words).problems() + address_problems(words) + check_problems(words)
    if problems:
        raise UserError(problems)
    return words


def parser() -> argparse.ArgumentParser:
    about = "Serve the arm that a report recommends, exactly as it was measured."
    arm = "another arm of the report; several: the page switches between them"
    host = f"default {HOST}; an address that other machines can reach needs a key in {KEY}"
    trust = "allow what the file asks for: running a model's own code, sending texts to servers"
    made = cli.Parser("rerankbench-serve", about, epilog=EPILOG)
    place = "SWEEP|RUN|deploy.yaml"
    made.add_argument(
        "place", type=Path, metavar=place, help="the folder of a sweep or a run, or a deploy.yaml"
    )
    made.add_argument("--arm", action="append", default=[], metavar="NAME", help=arm)
    made.add_argument("--host", type=bare, default=HOST, help=host)
    made.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0: a free one")
    made.add_argument("--trust", action="store_true", help=trust)
    add_limits(made.add_argument_group("limits"), Limits())
    add_check(made.add_argument_group("checking a running service"))
    return made


def bare(host: str) -> str:
    """An IPv6 address without the brackets that it has in URLs."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def add_limits(made: argparse._ArgumentGroup, usual: Limits) -> None:
    made.add_argument("--max-documents", type=int, default=usual.documents, help="most texts of one request")
    made.add_argument(
        "--max-characters", type=int, default=usual.characters, help="most characters of one text"
    )
    made.add_argument("--max-bytes", type=int, default=usual.bytes, help="most bytes of one request")
    seconds = "most seconds for one request, waiting included"
    made.add_argument("--seconds", type=float, default=usual.seconds, help=seconds)
    waiting = "most requests that wait; further ones get 429"
    made.add_argument("--waiting", type=int, default=usual.waiting, help=waiting)


def add_check(check: argparse._ArgumentGroup) -> None:
    replay = "replay the evaluation's queries against the running service, and compare"
    check.add_argument("--check", action="store_true", help=replay)
    check.add_argument("--url", help="the service's address (default: this command's --host and --port)")
    shapes = sorted(SHAPES)
    check.add_argument(
        "--shape", choices=shapes, default="jina", help="the shape of its requests (default jina)"
    )
    check.add_argument("--model", help="what it calls the model (default: the arm's name)")
    check.add_argument(
        "--key-variable", metavar="NAME", help=f"the environment variable that holds its key (default {KEY})"
    )
    check.add_argument("--clients", type=int, default=4, help="clients that ask at the same time (default 4)")


def limits_of(w: argparse.Namespace) -> Limits:
    return Limits(w.max_documents, w.max_characters, w.max_bytes, w.seconds, w.waiting)


def address_problems(words: argparse.Namespace) -> list[str]:
    from rerankbench.rerankers.served.address import is_loopback

    found = []
    if not 0 <= words.port <= LAST_PORT:
        found.append(f"--port {words.port}: choose 1 to {LAST_PORT}, or 0 for a free one")
    if not is_loopback(words.host) and not os.environ.get(KEY):
        cure = f"set a key that they have to give, {KEY}=KEY, or leave --host out"
        found.append(f"--host {words.host}: others could reach it there; {cure}")
    return found


def check_problems(words: argparse.Namespace) -> list[str]:
    found = [f"--url {words.url}: {mine(line)}" for line in url_problems(words.url)] if words.url else []
    alone = [] if words.check else [name for name in ("url", "model", "key_variable") if vars(words)[name]]
    found += [
        f"--{name.replace('_', '-')}: is about a service that is compared; add --check" for name in alone
    ]
    if not 1 <= words.clients <= MOST_CLIENTS:
        found.append(f"--clients {words.clients}: choose 1 to {MOST_CLIENTS}")
    if words.check and len(words.arm) > 1:
        found.append(f"--check: compares one arm at a time; leave out --arm {words.arm[1]}")
    if words.key_variable and not os.environ.get(words.key_variable):
        found.append(f"--key-variable {words.key_variable}: this variable is not set; export it")
    return found + key_problems(words.key_variable or KEY)


def mine(line: str) -> str:
    """What is wrong with an address, with the words of this command."""
    line = line.replace("name that by reranker.key_variable=NAME", "name that by --key-variable NAME")
    return line.replace("give them with reranker.path", "leave them out")


def key_problems(variable: str) -> list[str]:
    """Why what a variable holds cannot be sent as a key."""
    value = os.environ.get(variable, "")
    sent = value.isascii() and value.isprintable() and value == value.strip()
    return [] if sent else [f"{variable}: cannot be a key; it has blanks, line breaks or more than ASCII"]


def check(words: argparse.Namespace) -> int:
    """Replay, compare, say; returns 0 where it is what was measured, 1 where it is not."""
    from rerankbench.serving.check import compared

    [found] = deployments(words.place, words.arm)
    url = words.url or address(words.host, words.port)
    drifted = False
    done = measured(folder_of(words.place))
    measure = str(found.figures.get("measure") or usual(done))
    client = Client(url, SHAPES[words.shape], words.model or found.arm, key_of(words), words.clients)
    with closing(client):
        for each in compared(found, done, measure, client, words.clients, own=words.url is None):
            say(*each.lines())
            drifted |= each.drifted
    return int(drifted)


def measured(place: Path) -> list[Run]:
    """The runs of a folder. Raises UserError where they have no measures."""
    found = runs.find([place])
    if unjudged(found):
        kept = place / "judging" / "qrels.txt"
        raise UserError(
            f"--check: {visible(place)} was run without judgements, so it has no measures to compare with; "
            f"judge pairs with rerankbench-judge, and run the sweep again with dataset.qrels={visible(kept)}"
        )
    return found


def key_of(words: argparse.Namespace) -> Key | None:
    """What a checked service is sent: the key of the variable that is named, or our own if it is ours."""
    variable = words.key_variable or (KEY if words.url is None else "")
    return Key.read(variable if os.environ.get(variable) else None, "Authorization")


def address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def folder_of(place: Path) -> Path:
    """A folder of runs, or that of a deploy.yaml."""
    return place if place.is_dir() else place.parent


def serve(words: argparse.Namespace) -> int:
    """Load, announce, answer until it is stopped."""
    from rerankbench.serving.server import listen, server_of

    service, listening = ready(words)
    try:
        listen(listening)
    except UserError:
        service.close()
        raise
    say(f"serving {', '.join(service.arms)} at {address(words.host, listening.getsockname()[1])}")
    server_of(service).run([listening])
    return 0


def ready(words: argparse.Namespace) -> tuple[Service, socket]:
    """The loaded service, and a socket that does not listen yet. Raises UserError."""
    from rerankbench.serving import arm as arms
    from rerankbench.serving.models import Models
    from rerankbench.serving.server import bound
    from rerankbench.serving.service import Service

    found = deployments(words.place, words.arm)
    refuse_untrusted(found, words.trust)
    models, listening = Models(), bound(words.host, words.port)
    try:
        loaded = [arms.load(each, models, folder_of(words.place).absolute()) for each in found]
    except UserError:
        listening.close()
        raise
    return Service(loaded, models, limits_of(words), os.environ.get(KEY) or None), listening


def deployments(place: Path, names: Sequence[str]) -> list[Deployment]:
    """The file's arm, or arms by their names in the report of a folder. Raises UserError."""
    if not place.exists():
        cure = "give a sweep's folder or deploy.yaml"
        raise UserError(f"{visible(place)}: there is no such file or folder; {cure}")
    file = place / deployment.FILE if place.is_dir() else place
    if not names and file.exists():
        return [deployment.read(file)]
    place = folder_of(place)
    done = runs.find([place])
    if unjudged(done):
        return [unmeasured(place, done, name) for name in names or [""]]
    findings = findings_of(place)
    if not names:
        found = deployment.of(findings)
        if found is None:
            known = deployment.some_names(findings)
            raise UserError(f"{visible(place)}: nothing is recommended there; choose by --arm, of {known}")
        return [found]
    return [each for name in names if (each := deployment.of(findings, name))]


def unmeasured(place: Path, found: Sequence[Run], name: str) -> Deployment:
    """An arm of runs whose queries nobody judged, or few; those have no figures. Raises UserError."""
    from rerankbench.judging.lists import lists

    arms = lists(found).arms
    known = [arm.name for arm in arms]
    if not name:
        some = first_of(known, deployment.MOST_NAMES)
        raise UserError(f"{visible(place)}: nothing is recommended there; choose by --arm, of {some}")
    arm = arms[deployment.place_of(name, known)]
    return deployment.deployed(name, [arm], chosen=deployment.NAMED, judgements=dict(arm.run.dataset))


def findings_of(place: Path) -> Findings:
    """What the report of a folder of runs says."""
    found = runs.find([place])
    return find_out(found, Report(measure=usual(found)), earlier_race(found, [place], place))


def refuse_untrusted(found: Sequence[Deployment], trusted: bool) -> None:
    """Raise UserError where a file would run code of its models, or have texts sent away."""
    from rerankbench.serving.trust import problems

    lines = [] if trusted else [line for each in found for line in problems(each)]
    if lines:
        raise UserError(list(dict.fromkeys(lines)))


if __name__ == "__main__":
    sys.exit(main())
