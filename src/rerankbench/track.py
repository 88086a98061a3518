"""The command `rerankbench-track`: log finished runs to MLflow, for instance after a server was down."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rerankbench import as_typed, cli, complaints
from rerankbench.errors import UserError
from rerankbench.result import Result
from rerankbench.runner import quiet_libraries
from rerankbench.tracking import MLflow, why

USAGE = """usage: rerankbench-track FOLDER... [tracking.uri=URI] [tracking.experiment=NAME]

Log the runs in these folders, or in folders below them, to MLflow; those that are there are left alone.
Without tracking.uri= each run goes where its own config says.
"""
KEYS = ("uri", "experiment")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 all logged, 1 a store did not take a run, 2 the user's mistake."""
    return cli.run(command, argv)


def command(words: list[str]) -> int:
    quiet_libraries()
    if not words or {"-h", "--help"} & set(words):
        print(USAGE, end="")
        return 0 if words else 2
    settings, names = read_words(words)
    runs = [(folder, Result.read(folder), destination(folder, settings)) for folder in run_folders(names)]
    return max([log_one(*run) for run in runs])


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
            problems.append(
                f"{word}: there is no such argument; rerankbench-track --help shows what there is"
            )
        else:
            names.append(word)
    if not names:
        problems.append("give the output folder of a run or of a sweep")
    if problems:
        raise UserError(problems)
    return settings, names


def run_folders(names: Sequence[str]) -> list[Path]:
    """The folders of runs at or below the named ones, each once, in order."""
    folders, problems = [], []
    for name in names:
        files = sorted(Path(name).expanduser().rglob("result.json"))
        if not files:
            what = "holds no result.json" if Path(name).is_dir() else "there is no such folder"
            problems.append(f"{name}: {what}; give the output folder of a run or of a sweep")
        folders += [file.parent for file in files]
    if problems:
        raise UserError(problems)
    return list(dict.fromkeys(folders))


def destination(folder: Path, settings: dict[str, str]) -> MLflow:
    """Where a run goes: its own config's store, changed by `settings`. Raises UserError."""
    wanted = own_settings(folder) | settings
    if "***" in wanted.get("uri", ""):
        raise UserError(f"{folder}: its config keeps no password; give tracking.uri= again")
    tracking = MLflow(**wanted)
    if problems := tracking.problems():
        raise UserError(problems)
    return tracking


def own_settings(folder: Path) -> dict[str, str]:
    """What a run's saved config says about MLflow; empty where it logged nowhere."""
    file = folder / ".hydra" / "config.yaml"
    if not file.is_file():
        return {}
    try:
        node = OmegaConf.select(OmegaConf.create(file.read_text(encoding="utf-8")), "tracking") or {}
        return {key: str(node[key]) for key in KEYS if key in node}
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        cure = "give tracking.uri= and tracking.experiment=, or take the file away"
        raise UserError(f"{file}: cannot be read ({complaints.one_line(error)}); {cure}") from None


def log_one(folder: Path, result: Result, tracking: MLflow) -> int:
    """Log one run and say so; 1 where the store does not take it."""
    before = result.mlflow_run_id
    try:
        run_id = tracking.log(result, folder)
    except Exception as error:  # whatever the store or its server did
        print(
            f"error: {folder}: {result.arm} not logged to {tracking.place()}: {why(error)}", file=sys.stderr
        )
        return 1
    what = "was logged already" if run_id == before else "logged"
    print(f"{folder}: {result.arm} {what}, run {run_id} in {tracking.place()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
