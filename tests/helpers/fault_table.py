"""Runs the table of bad input; run as a script, it writes docs/faults.md from what the commands said."""

from __future__ import annotations

import copy
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from bad_input import FAULTS, Fault, Place
from config_faults import CONFIG_FAULTS, make_folders
from cures import CURES, NEXT
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.commands import cli, judge, report, serve, track, ui
from rerankbench.commands import run as runner
from rerankbench.commands.cache import command as cache
from rerankbench.commands.check import command as check_command
from rerankbench.commands.hydra import config, preflight
from rerankbench.commands.hydra.hydra_private import ConfigLoaderImpl
from rerankbench.experiment import pipeline
from rerankbench.experiment.tracking import run_folders
from rerankbench.report.arms import runs

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "rerankbench": runner.main,
    "rerankbench-check": check_command.main,
    "rerankbench-report": report.main,
    "rerankbench-cache": cache.main,
    "rerankbench-track": track.main,
    "rerankbench-ui": ui.main,
    "rerankbench-serve": serve.main,
    "rerankbench-judge": judge.main,
}
FREE_PORT = re.compile(r"(--port )\d{5}\b(?!: choose)")  # another one each time
HEAD = """# Bad input: what was tried, and what was said

`make fault-table` writes this page; `tests/commands/test_bad_input.py` runs every line through the command
itself. Each ends with exit code 2, without a trace, and without files that look like results. `<folder>` is
the folder of the faulty files, `<models>` that of the tests' models, `<run>` a finished run. The last column
has what cures it: other words (`...`: the rest of the command), or what to do to the file. The tests do that,
where the message says so, and run the command again.

| area | faults |
|---|---:|
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, lines that name mistakes, everything printed, and what it left."""

    code: int | str
    lines: list[str]
    printed: str
    left: list[str]


def run(fault: Fault, folder: Path, models: Path) -> Outcome:
    """Make one fault in an empty folder and run its command there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program, *words = fault.make(Place(folder, models))
    found = in_folder(folder, lambda: PROGRAMS[program](words))
    return replace(found, lines=[tidy(line, folder, models) for line in found.lines])


def in_folder(folder: Path, command: Callable[[], int]) -> Outcome:
    """Run a command in a folder."""
    out, errors, before = StringIO(), StringIO(), os.getcwd()
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(errors), composing_once():
            code: int | str = command()
    except BaseException as error:  # what a person would see as a trace
        code = f"{type(error).__name__}: {error}"
    finally:
        os.chdir(before)
    lines = [line.removeprefix("error: ") for line in errors.getvalue().splitlines() if line[:7] == "error: "]
    return Outcome(code, lines, out.getvalue() + errors.getvalue(), sorted(left(folder)))


@contextmanager
def composing_once() -> Iterator[None]:
    """Hydra reads its hundred files three times for each command; the same words make the same config."""
    whole = ConfigLoaderImpl.load_configuration

    def remembered(self: ConfigLoaderImpl, *given: Any, **named: Any) -> Any:
        paths = tuple(str(part.path) for part in self.config_search_path.get_path())
        key = repr((paths, given, sorted(named.items())))
        if any("own" in path for path in paths) or "searchpath" in key:
            return whole(self, *given, **named)
        if key not in _COMPOSED:
            _COMPOSED[key] = whole(self, *given, **named)
        return copy.deepcopy(_COMPOSED[key])

    ConfigLoaderImpl.load_configuration = remembered  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = whole  # type: ignore[method-assign]


_COMPOSED: dict[str, Any] = {}


def left(folder: Path) -> Iterator[str]:
    """Files that look like results, and what a stranger's code would have written."""
    for file in folder.rglob("*"):
        name = str(file.relative_to(folder))
        made = name.startswith(("out/", "sweep/", "outputs/", "multirun/", "report"))
        if (
            (made and file.suffix in (".trec", ".parquet", ".html", ".md"))
            or (made and file.name == "result.json" and '"status": "ok"' in file.read_text())
            or file.name == "SPRUNG"
        ):
            yield name


def tidy(line: str, folder: Path, models: Path) -> str:
    """A message as any machine would give it."""
    places = {
        str(folder): "<folder>",
        str(models): "<models>",
        str(conf_folder()): "<package>/conf",
    }
    for place, name in places.items():
        line = line.replace(place, name)
    return FREE_PORT.sub(r"\1PORT", line)


def config_faults(folder: Path) -> list[tuple[str, str, str]]:
    """The commands of config_faults.py, each with what was said of it and the command that cures it."""
    config.register_schemas()
    make_folders(folder)
    found = []
    for fault in CONFIG_FAULTS:
        try:
            with composing_once():
                preflight.check(fault.command.replace("{root}", str(folder)).split())
            said = ["nothing"]
        except UserError as error:
            said = error.problems
        line = one_line([tidy(s, folder, folder) for s in said])
        here, cured = (command.replace("{root}", "<folder>") for command in (fault.command, fault.cured))
        found.append((here, line, cured or "leave it out"))
    return found


def one_line(lines: list[str]) -> str:
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return lines[0] + more if lines else "nothing"


def page(outcomes: dict[str, Outcome], commands: list[tuple[str, str, str]]) -> str:
    """docs/faults.md."""
    rows = [
        (fault.area, fault.name, one_line(outcomes[fault.title].lines), cure_of(fault)) for fault in FAULTS
    ]
    rows += [("configs", code(command, True), said, tried(cured)) for command, said, cured in commands]
    counts = Counter(area for area, *_ in rows)
    total = [f"| {area} | {count} |" for area, count in counts.items()] + [f"| **all** | **{len(rows)}** |"]
    body = ["| area | fault | what it said | what cures it |", "|---|---|---|---|"]
    body += [f"| {area} | {name} | {code(said)} | {cured} |" for area, name, said, cured in rows]
    return HEAD + "\n".join([*total, "", *body]) + "\n"


def cure_of(fault: Fault) -> str:
    """How the page says what cures a fault, and what is then said of the next one."""
    shown = tried(fault.cured) if fault.cured else CURES[fault.title].shown
    return f"{shown} (then: {code(NEXT[fault.title])})" if fault.title in NEXT else shown


def tried(cured: str) -> str:
    """A cured command with the folders by their names."""
    names = {"{here}": "<folder>", "{data}": "<folder>/data", "{models}": "<models>", "{done}": "<run>",
             "{sweep}": "<folder>/measured"}  # fmt: skip
    for name, shown in names.items():
        cured = cured.replace(name, shown)
    return code(cured)


def cured_lines(fault: Fault, said: list[str], folder: Path, models: Path) -> list[str]:
    """What is said once the fault is cured: nothing where the command works.

    A cure of words is tried in a fresh folder, one of a file where the fault was made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    place = Place(folder, models)
    if fault.cure:
        command = fault.cure(place)
    else:
        first = said[0].replace("<folder>", str(folder)).replace("<models>", str(models))
        command = CURES[fault.title].act(place, fault.make(place), first)
    found = in_folder(folder, lambda: look(command[0], command[1:]))
    return [] if found.code == 0 else found.lines or [found.printed or str(found.code)]


def look(program: str, words: list[str]) -> int:
    """Whether a command works, as far as its faults are about: reports are not drawn, nothing is logged."""
    config.register_schemas()
    try:
        match program:
            case "rerankbench" if {"-m", "--cfg", "--info", "--resolve", "dataset=hub"} & set(words):
                preflight.check(words)
            case "rerankbench":
                pipeline.run(preflight.experiment(words))
            case "rerankbench-report":
                runs.find(map(Path, report.read(report.parser().parse_intermixed_args(words).places)[2]))
            case "rerankbench-track":
                settings, names = track.read_words(words)
                track.all_runs(run_folders.find(map(Path, names)), settings)
            case "rerankbench-ui":
                ui.settings(ui.read(words)[2])
            case "rerankbench-serve":
                service, listening = serve.ready(serve.read(words))
                service.close()
                listening.close()
            case "rerankbench-judge":
                return judge.main([*words, "--status"])
            case _:
                return PROGRAMS[program](words)
    except UserError as error:
        return cli.complain(error)
    return 0


def code(text: str, double: bool = False) -> str:
    """A text that Markdown shows as it is."""
    fence = "``" if "`" in text or double else "`"
    inside = text.replace("|", r"\|")
    return f"{fence} {inside} {fence}" if fence == "``" else f"`{inside}`"


def main() -> None:
    from tiny_models import build_all

    with tempfile.TemporaryDirectory() as scratch:
        models, here = Path(scratch, "models"), Path(scratch, "here")
        for _ in build_all(models):
            pass
        outcomes = {fault.title: run(fault, here, models) for fault in FAULTS}
        PAGE.write_text(page(outcomes, config_faults(Path(scratch, "bad"))), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {len(FAULTS)} faults and {len(CONFIG_FAULTS)} commands\n")


if __name__ == "__main__":
    main()
