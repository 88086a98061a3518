"""The command: `rerankbench-report FOLDER|EXPERIMENT [...] [report.KEY=VALUE] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import say
from rerankbench.commands import cli, sweep_run
from rerankbench.experiment.tracking.mlflow_store import MLflow
from rerankbench.report import measure_names
from rerankbench.report.arms.runs import Run
from rerankbench.report.settings import USUAL, Report, closest

if TYPE_CHECKING:
    from rerankbench.commands.sweep_run import Found
    from rerankbench.judging.qrels import Qrels
    from rerankbench.judging.reports.differences import Differences
    from rerankbench.judging.reports.partly import Partly
    from rerankbench.judging.verdict import State
    from rerankbench.report.arrangements.trial import Trial
    from rerankbench.report.evidence.settled import Settled
    from rerankbench.report.findings import Findings
    from rerankbench.report.race.record import Record

EPILOG = """examples:
  rerankbench-report multirun/2026-01-31/12-00-00
  rerankbench-report sweep1 sweep2 --out both report.delta=0.02
  rerankbench-report --race multirun/2026-01-31/12-00-00 report.race.seconds=300
  rerankbench-report rerankbench tracking.uri=sqlite:///mlflow.db report.budget.latency_p95_ms=50
settings: report.measure, report.more, report.delta, report.level, report.price_per_hour,
  report.budget.latency_p95_ms, report.budget.memory_mb, report.budget.price_per_1k, report.race.seconds,
  report.race.width, report.race.paid, report.register, report.kappa, tracking.uri, tracking.experiment"""


@printing.command
@cli.command
def main(argv: list[str]) -> int:
    """Build a report; returns the exit code: 0 done, 2 the user's mistake."""
    words = parser().parse_intermixed_args(argv)
    build(words.places, words.out, words.race, words.qrels, words.measure)
    return 0


def parser() -> argparse.ArgumentParser:
    about = "Compare finished runs and write a verdict: report.html, report.md, report.json, plots."
    places = "folders of runs or sweeps, names or ids of MLflow experiments, settings"
    out = "where to write (default: the folder, if one is given, else report/)"
    measure = "list another measure of all arms, by ir_measures' name: P@5, AP, ERR@10; may be repeated"
    race = "measure costs again: each model and first stage in a process of its own, timed in turns"
    qrels = "judgements to measure by (default: the runs' own, else what rerankbench-judge has kept)"
    made = cli.Parser("rerankbench-report", about, epilog=EPILOG)
    made.add_argument("places", nargs="+", type=cli.given, metavar="FOLDER|EXPERIMENT|KEY=VALUE", help=places)
    made.add_argument("--out", type=lambda text: Path(cli.given(text)), help=out)
    made.add_argument("--measure", action="append", default=[], metavar="NAME", help=measure)
    made.add_argument("--race", action="store_true", help=race)
    made.add_argument("--qrels", type=Path, metavar="FILE", help=qrels)
    return made


def build(
    words: Sequence[str],
    out: Path | None,
    race: bool = False,
    qrels: Path | None = None,
    measures: Sequence[str] = (),
) -> Path:
    """Find the runs, race them if asked, report on them; returns the page's path. Raises UserError."""
    from rerankbench.judging.verdict import WELL_JUDGED, judged_runs
    from rerankbench.report import made, more_measures
    from rerankbench.report.findings import find_out
    from rerankbench.report.page import files, terminal

    report, tracking, places = read(words, measures)
    folders, experiments, target = located(places, out)
    files.check(target)  # before the work, which may be downloads of hours
    with tempfile.TemporaryDirectory(prefix="rerankbench-report-") as scratch:
        found = gather(folders, experiments, tracking, Path(scratch))
        log = logging_to(tracking if experiments or names_store(words) else None, target, found)
        qrels = qrels or kept_judgements(found, folders)
        costs = raced(found, report, target) if race else earlier_race(found, folders, target)
        if qrels is None and unjudged(found):
            return compared(found, report, target, places, costs, log)
        report, settled = measuring(words, report, found, qrels), None
        if qrels is not None:
            at, settled, judgements = by_judgements(found, qrels, report)
            if settled.judged < WELL_JUDGED * settled.pairs:
                return partly_judged(found, at, settled, report, costs, target, places, log)
            found = judged_runs(found, at, judgements, Path(scratch) / "judged")
            report = replace(report, arrangements=False)  # what is settled is of plain arms
        findings = tried(find_out(found, report, costs, settled), found, report, target, race)
        command = ["rerankbench-report", *words, *option_words(out, race, qrels, measures)]
        origin = made.now(command, target, tracking.page() if experiments else "")
        findings = replace(findings, more=more_measures.more(findings.contest, report.more), made=origin)
        page = written(target, findings)
        log(findings)
    terminal.show(findings, page)
    return page


Log = Callable[["Found"], object]


def logging_to(tracking: MLflow | None, target: Path, runs: Sequence[Run]) -> Log:
    """What logs the report in a folder as the run of its sweep; nothing without a store."""
    if tracking is None:
        return lambda found: None
    return partial(sweep_run.log, tracking, folder=target, sweep_id=sweep_of(runs))


def names_store(words: Sequence[str]) -> bool:
    return any(word.startswith("tracking.") for word in words)


def located(places: Sequence[str], out: Path | None) -> tuple[list[Path], list[str], Path]:
    """Of the places: folders of runs, names of experiments; and where the report goes."""
    folders = [Path(place) for place in places if Path(place).is_dir()]
    experiments = [place for place in places if not Path(place).is_dir()]
    return folders, experiments, out or (folders[0] if len(places) == 1 and folders else Path("report"))


def option_words(out: Path | None, race: bool, qrels: Path | None, measures: Sequence[str]) -> list[str]:
    """The options as they are typed."""
    given = [("--measure", name) for name in measures]
    given += [(name, str(path)) for name, path in (("--out", out), ("--qrels", qrels)) if path is not None]
    return [*(word for pair in given for word in pair), *(["--race"] if race else [])]


def measuring(words: Sequence[str], report: Report, found: Sequence[Run], qrels: Path | None) -> Report:
    """The settings with the measure that the runs are compared by, unless it is told."""
    if any(word.startswith("report.measure=") for word in words):
        return report
    return replace(report, measure=usual(found, judged=qrels is None))


def unjudged(found: Sequence[Run]) -> bool:
    """Whether nobody has judged the queries of any run that finished."""
    done = [run for run in found if not run.failed]
    return bool(done) and not any(run.dataset.get("judgements") for run in done)


def kept_judgements(found: Sequence[Run], folders: Sequence[Path]) -> Path | None:
    """What rerankbench-judge has kept beside runs without judgements of their own."""
    from rerankbench.judging.record import NESTED, QRELS
    from rerankbench.judging.session import FOLDER

    if not unjudged(found):
        return None
    files = (folder / FOLDER / name for folder in folders for name in (QRELS, NESTED))
    return next((file for file in files if file.is_file() and file.stat().st_size), None)


def by_judgements(found: Sequence[Run], file: Path, report: Report) -> tuple[State, Settled, Qrels]:
    """Where the judgements of a file leave the runs. Raises UserError."""
    from rerankbench.judging import agreement, qrels, verdict
    from rerankbench.judging.lists import lists
    from rerankbench.judging.record import HIGHEST, beside
    from rerankbench.judging.session import fingerprint

    judgements, highest, warnings = qrels.read(file), HIGHEST, list[str]()
    if record := beside(file):
        by = {pair: judge for pair, (_, judge) in record.grades().items()}
        judgements, highest = replace(judgements, judges=by), record.highest or HIGHEST
        warnings = agreement.warnings(record, report.kappa, fingerprint(found))
    highest, cutoff = max([highest, *judgements.grades.values()]), verdict.cutoff_of(report.measure)
    at = verdict.state(lists(found), dict(judgements.grades), cutoff, report.delta, highest)
    return at, verdict.settled(at, judgements, file, report.measure, warnings), judgements


def compared(
    found: Sequence[Run],
    report: Report,
    target: Path,
    places: Sequence[str],
    race: Record | None,
    log: Log,
) -> Path:
    """What runs without judgements show; returns the page's path."""
    from rerankbench.judging.lists import lists
    from rerankbench.judging.reports.differences import differences
    from rerankbench.judging.texts import texts_of

    try:
        texts = texts_of(found)
    except UserError as error:  # the collection is elsewhere; the rest can be told without its texts
        say(f"no texts are shown: {'; '.join(error.problems)}", error=True)
        texts = None
    return shown(differences(found, lists(found), texts, report, race), target, places, log)


def partly_judged(
    found: Sequence[Run],
    at: State,
    settled: Settled,
    report: Report,
    race: Record | None,
    target: Path,
    places: Sequence[str],
    log: Log,
) -> Path:
    """What few judgements show, and the arm to deploy where they settle it; returns the page's path."""
    from rerankbench.judging.reports.partly import deployable, partly
    from rerankbench.report import deployment

    told = partly(found, at, settled, report, race)
    deployment.write(target, lambda: deployable(told, at.lists.arms))
    return shown(told, target, places, log)


def shown(told: Differences | Partly, target: Path, places: Sequence[str], log: Log) -> Path:
    """Write, log and show what is told of runs without a verdict; returns the page's path."""
    from rerankbench.judging.reports import pages

    page = pages.write(target, told)
    log(told)
    pages.show(told, page, " ".join(places))
    return page


def raced(found: Sequence[Run], report: Report, target: Path) -> Record:
    """A new race. Raises UserError where none can be held."""
    from rerankbench.report.race.race import hold

    if not report.race.seconds:
        raise UserError(
            "--race with report.race.seconds=0: give the seconds that it may take, or leave one out"
        )
    told = logging.getLogger("rerankbench")
    told.addHandler(logging.StreamHandler())
    told.setLevel(logging.INFO)
    target.mkdir(parents=True, exist_ok=True)
    return hold(found, report, target, trusted=False)


def tried(findings: Findings, found: Sequence[Run], report: Report, target: Path, race: bool) -> Findings:
    """With the recommended arrangement run for real after a race; else with an earlier trial of it."""
    from rerankbench.report.arrangements import trial

    if findings.arranged is None:
        return findings
    if not race:
        return replace(findings, trial=trial.read(target, findings.arranged))
    return replace(findings, trial=new_trial(findings, found, report, target, trusted=False))


def new_trial(
    findings: Findings, found: Sequence[Run], report: Report, target: Path, trusted: bool = True
) -> Trial | None:
    """The recommended arrangement run for real, and kept; None where that cannot be done."""
    from rerankbench.report.arrangements import trial

    if findings.arranged is None:
        return None
    held = trial.hold(findings.arranged, found, findings.book, report.race.seconds, trusted=trusted)
    if held is not None:
        held.write(target)
    return held


def earlier_race(found: Sequence[Run], folders: Sequence[Path], target: Path) -> Record | None:
    """The race that was held of these runs, if one was."""
    from rerankbench.report.race.record import FILE, fitting

    keys = {str(key) for run in found for key in run.result.get("identity", {}).values() if key}
    files = [target / FILE, *(file for folder in folders for file in sorted(folder.rglob(FILE)))]
    return fitting([*files, *(folder.absolute().parent / FILE for folder in folders)], keys)


def usual(runs: Sequence[Run], judged: bool = True) -> str:
    """What runs are compared by unless it is told: nDCG at the common cutoff that comes closest to 10.

    judged: whether the runs have measures; if not, the cutoffs that were asked for count.
    """
    cutoffs = [ndcg_cutoffs(run, judged) for run in runs if not run.failed]
    common = set.intersection(*cutoffs) if cutoffs else set()
    return f"ndcg_at_{closest(sorted(common))}" if common else USUAL


def ndcg_cutoffs(run: Run, judged: bool) -> set[int]:
    if not judged:
        return {k for k in run.params.get("cutoffs") or () if isinstance(k, int)}
    measured = run.result.get("measures", {}).get("first_stage", {})
    found = (re.fullmatch(r"ndcg_at_([1-9][0-9]{0,8})", name) for name in measured)
    return {int(match[1]) for match in found if match}


def written(target: Path, findings: Findings) -> Path:
    """All files; returns the page's path. Raises UserError where the disk refuses one of them."""
    from rerankbench.report.page import files

    try:
        return files.write(target, findings)
    except OSError as error:
        raise files.refusal(target, error) from None


def gather(folders: Sequence[Path], experiments: Sequence[str], tracking: MLflow, scratch: Path) -> list[Run]:
    """All runs of all places."""
    from rerankbench.report import tracked
    from rerankbench.report.arms import runs

    return runs.find(folders) + [run for name in experiments for run in tracked.find(tracking, name, scratch)]


def sweep_of(runs: Sequence[Run]) -> str:
    """The sweep that all runs are of, else how many sweeps they are of."""
    names = sorted({str(run.result.get("sweep_id", "")) for run in runs})
    return names[0] if len(names) == 1 else f"{len(names)} sweeps"


def read(words: Sequence[str], measures: Sequence[str] = ()) -> tuple[Report, MLflow, list[str]]:
    """Settings, with more `measures` to list, and places. Raises UserError with every mistake."""
    from rerankbench.basics.typed_settings import convert

    problems = measure_names.problems(measures, "--measure")
    values: dict[str, dict[str, Any]] = {"report": {}, "tracking": {}}
    places = []
    for word in words:
        group = word.partition("=")[0].partition(".")[0]
        if "=" not in word or Path(word).exists():
            places.append(word)
        elif group in values and "." in word.partition("=")[0]:
            put(values, word, problems)
        else:
            problems.append(f"{word}: settings here start with report. or tracking.; --help lists them")
    report = convert(Report, values["report"], "report.", problems)
    tracking = convert(MLflow, values["tracking"], "tracking.", problems)
    problems += report.problems() if report is not None else []
    problems += tracking.address_problems() if tracking is not None else []  # it may only be read
    if not places and not problems:
        problems.append("no folder and no experiment given: rerankbench-report FOLDER")
    if problems or report is None or tracking is None:
        raise UserError(problems)
    return replace(report, more=(*report.more, *measures)), tracking, places


def put(values: dict[str, Any], word: str, problems: list[str]) -> None:
    """Set report.budget.memory_mb=100 as values["report"]["budget"]["memory_mb"] = 100."""
    import yaml

    from rerankbench.commands.hydra import as_typed, key_types

    path, _, text = word.partition("=")
    *above, name = path.split(".")
    for part in above:
        values = values.setdefault(part, {})
    try:
        values[name] = as_typed.text(text) if key_types.is_text(path) else yaml.safe_load(text)
    except yaml.YAMLError:
        problems.append(f"{word}: the value cannot be read")


if __name__ == "__main__":
    sys.exit(main())
