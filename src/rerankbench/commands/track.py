"""The command `rerankbench-track`: log finished runs to MLflow, for instance after a server was down."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from rerankbench.basics import complaints, printing, typed_json
from rerankbench.basics.alike import folded
from rerankbench.basics.errors import UserError
from rerankbench.basics.quiet_libraries import quiet_libraries
from rerankbench.basics.regular_file import open_regular, read_regular
from rerankbench.basics.visible import say
from rerankbench.commands import cli
from rerankbench.commands.hydra import as_typed
from rerankbench.experiment.tracking import run_folders
from rerankbench.experiment.tracking.mlflow_store import SQLITE, MLflow, why
from rerankbench.experiment.tracking.result import Result
from rerankbench.experiment.tracking.run_folders import SETTINGS

USAGE = """usage: rerankbench-track FOLDER... [tracking.uri=URI] [tracking.experiment=NAME]

Log the runs in these folders, or in folders below them, to MLflow; runs that are there already are
left alone. Without tracking.uri= each run goes where its own config says.
"""
KEYS = ("uri", "experiment")
MOST_CONFIG = 1 << 18  # bytes
# AttributeError, TypeError: keys that are no keys; RecursionError: brackets without end.
CANNOT_READ = (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError, OSError)


@printing.command
@cli.command
def main(words: list[str]) -> int:
    """Returns the exit code: 0 all logged, 1 a store did not take a run, 2 the user's mistake."""
    quiet_libraries()
    if not words or {"-h", "--help"} & set(words):
        say(*USAGE.splitlines())
        return 0 if words else 2
    settings, names = read_words(words)
    runs = all_runs(run_folders.find(Path(name) for name in names), settings)
    return max([log_one(*run) for run in runs])


def all_runs(folders: Sequence[Path], settings: dict[str, str]) -> list[tuple[Path, Result, MLflow]]:
    """Each run and where it goes, before anything is logged. Raises UserError with what is wrong in any."""
    runs, problems = [], []
    for folder in folders:
        try:
            run_folders.own_files(folder)
            runs.append((folder, Result.read(folder), destination(folder, settings)))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(folded(problems))
    return runs


def read_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Settings (`uri`, `experiment`) and folders."""
    settings, names = {}, []
    problems: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key.startswith("tracking.") and equals:
            name = key.removeprefix("tracking.")
            settings[name] = as_typed.text(value)
            if settings[name] is None:
                problems.append(f"{word}: null is not possible here; leave it out for the run's own")
            if name not in KEYS:
                problems.append(complaints.unknown_key("tracking.", name, value, KEYS))
        elif word.startswith("-"):
            cure = "rerankbench-track --help shows what there is"
            problems.append(f"{word}: there is no such argument; {cure}")
        else:
            names.append(word)
    if not names:
        problems.append("give the output folder of a run or of a sweep")
    if problems:
        raise UserError(problems)
    return settings, names


def destination(folder: Path, settings: dict[str, str]) -> MLflow:
    """Where a run goes: its own config's store, changed by `settings`. Raises UserError."""
    own = {} if settings.keys() >= set(KEYS) else own_settings(folder)
    wanted = own | settings
    if "***" in wanted.get("uri", ""):
        raise UserError(f"{folder}: its config keeps no password; give tracking.uri= again")
    tracking = MLflow(**wanted)
    if "uri" not in settings and elsewhere(tracking):  # before `problems`, which tries to make folders there
        cure = f"give tracking.uri=sqlite:///{tracking.database} to have it made"
        raise UserError(f"{folder}: its config names {tracking.database}, where no store is; {cure}")
    if problems := tracking.problems():
        raise UserError([f"{folder}: {problem}" for problem in problems])
    return tracking


def elsewhere(tracking: MLflow) -> bool:
    """Whether a database would be made outside the current folder; a config may be somebody else's."""
    if not tracking.uri.startswith("sqlite:///") or tracking.database.is_relative_to(Path.cwd()):
        return False
    try:
        with open_regular(tracking.database) as stream:
            return stream.read(len(SQLITE)) != SQLITE
    except OSError:
        return True


def own_settings(folder: Path) -> dict[str, str]:
    """What a run's saved config says about MLflow; empty where it logged nowhere."""
    file = folder / SETTINGS / "config.yaml"
    cure = "give tracking.uri= and tracking.experiment=, or take the file away"
    try:
        config = PlainLoader(read_regular(file, MOST_CONFIG).decode()).get_single_data()
    except FileNotFoundError:
        return {}
    except CANNOT_READ as error:
        told = error.strerror if isinstance(error, OSError) else complaints.one_line(error)
        raise UserError(f"{file}: cannot be read ({told}); {cure}") from None
    found = config.get("tracking") if isinstance(config, dict) else None
    wanted = {key: found[key] for key in KEYS if key in found} if isinstance(found, dict) else {}
    for key, value in wanted.items():
        if not isinstance(value, str) or "${" in value:
            raise UserError(f"{file}: tracking.{key} is {typed_json.shown(value)}, not a plain text; {cure}")
    return wanted


class PlainLoader(yaml.SafeLoader):
    """YAML as saved configs have it: no aliases, of which a few lines can stand for millions of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, which no saved config has")
        return super().compose_node(parent, index)


def log_one(folder: Path, result: Result, tracking: MLflow) -> int:
    """Log one run and say so; 1 where the store does not take it, 2 where that is the user's to mend."""
    before = result.mlflow_run_id
    try:
        run_id = tracking.log(result, folder)
    except UserError as error:
        return cli.complain(error)
    except Exception as error:  # whatever the store or its server did
        say(f"error: {folder}: {result.arm} not logged to {tracking.place()}: {why(error)}", error=True)
        return 1
    what = "was logged already" if run_id == before else "logged"
    say(f"{folder}: {result.arm} {what}, run {run_id} in {tracking.place()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
