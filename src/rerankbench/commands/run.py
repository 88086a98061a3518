"""From a command line to finished runs: checks everything first, then lets Hydra run the jobs."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics import complaints, masking, printing
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import mask_file, masked
from rerankbench.basics.quiet_libraries import quiet_libraries
from rerankbench.basics.visible import say, visible_lines
from rerankbench.commands import cli, key_help, sweep_run, usage
from rerankbench.commands.hydra import (
    as_typed,
    command_line,
    config,
    hydra_private,
    partial_keys,
    preflight,
)
from rerankbench.commands.job import FORECAST_FILE, Job
from rerankbench.engine.store import disk
from rerankbench.experiment.tracking.result import Result

STOP_SECONDS = 8.0  # after which a stop no longer waits for the batch that is being computed
CLUSTERS = {  # what a launcher says where there is no cluster, and what to do about it
    'Could not detect "srun"': "hydra/launcher=submitit_slurm: there is no srun here; run the command on a "
    "login node of a Slurm cluster, or use hydra/launcher=submitit_local",
    "Could not find any running Ray instance": "hydra.launcher.ray.init.address=auto: there is no Ray "
    "cluster here; start one with `ray start --head`, or leave the address out for this machine alone",
    "object_store_memory must not be provided": "hydra.launcher.ray.init.address: a running cluster has "
    "its own object store; add hydra.launcher.ray.init.object_store_memory=null",
}
LOGGING = ("Unable to configure ", "Unsupported version: ")  # what Python says of a log that it cannot set up


class Stopped(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, but the exit code says which it was."""


@printing.command
@cli.command
def main(words: list[str]) -> int:
    """Run the command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake."""
    quiet_libraries()
    masking.remember_all(words)
    config.register_schemas()
    try:
        with stopping_cleanly():
            parsed = command_line.parse(words)
            if command_line.shows(parsed):
                return show(parsed) or printing.lost()
            with command_line.composing(parsed) as hydra:
                checked = preflight.Command(parsed)
                return launch(hydra, parsed.config_name or "config", checked)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(complaints.one_line(error)) from error
    except KeyboardInterrupt as stop:
        say("stopped; what was computed is kept: the same command continues", error=True)
        return 143 if isinstance(stop, Stopped) else 130


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into exceptions, and see to it that they end the process in time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int, frame: FrameType | None) -> None:
    """Stop now, flushing what is computed; where something holds that up, stop without it."""
    timer = threading.Timer(STOP_SECONDS, leave, [128 + number])
    timer.daemon = True
    timer.start()
    raise Stopped if number == signal.SIGTERM else KeyboardInterrupt


def leave(code: int) -> None:
    """The end of a stop that something holds up; what was written so far is kept."""
    say("stopped; what was written is kept: the same command continues", error=True)
    os._exit(code)


def show(parsed: Namespace) -> int:
    """Help, or a config that is only printed."""
    if parsed.help:
        own = [Path(parsed.config_dir)] if parsed.config_dir else []
        folders = [*own, conf_folder()]
        text = key_help.text(parsed.overrides, folders) if parsed.overrides else usage.text(folders)
        say(*text.splitlines())
        return 0
    with command_line.composing(parsed) as hydra:
        try:
            with printed_as(masking.masked_yaml if parsed.cfg else masked):
                show_by_hydra(hydra, parsed, parsed.config_name or "config")
        except SystemExit:
            line = f"--package {parsed.package}: the config has no such part; give one of its keys"
            raise UserError(line) from None
        except preflight.CONFIG_ERRORS as error:
            raise UserError(complaints.one_line(error)) from error
    return 0


@contextmanager
def printed_as(hide: Callable[[str], str]) -> Iterator[None]:
    """Print what Hydra prints, a config above all, as `hide` leaves it."""
    printed = StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(StringIO()):
            yield
    finally:
        say(*visible_lines(hide(printed.getvalue())).splitlines())


def show_by_hydra(hydra: Any, parsed: Namespace, name: str) -> None:
    """What Hydra itself prints: its help, completions for a shell, configs and how they came about."""
    if parsed.hydra_help:
        parsed.overrides = []  # they could choose a stranger's option, which nothing has looked at
        hydra.hydra_help(name, hydra_private.arguments_parser(), parsed)
    elif parsed.shell_completion:
        hydra.shell_completion(name, parsed.overrides)
    elif parsed.cfg:
        words = list(preflight.Command(parsed, shown=True).words)
        hydra.show_cfg(name, words, parsed.cfg, parsed.package, parsed.resolve)
    else:
        hydra.show_info(parsed.info, name, list(preflight.Command(parsed, shown=True).words))


def launch(hydra: Any, name: str, command: preflight.Command) -> int:
    """Let Hydra run `Job` for each job of a command; then say what failed."""
    sweep = command.multirun
    words = [*command.words, f"hydra.mode={'MULTIRUN' if sweep else 'RUN'}"]
    with folder_of(hydra, name, words, command) as folder:
        before = frozenset(map(stamp, result_files(folder)))
        task = Job(command.swept, command.partial, command.checked)
        say(*partial_keys.lines(command.partial), end="\n" * bool(command.partial))
        words += [f"hydra.{'sweep' if sweep else 'run'}.dir={as_typed.quoted(str(folder))}"]
        try:
            (hydra.multirun if sweep else hydra.run)(name, task, words)
        except (RuntimeError, ConnectionError, ValueError) as error:  # of launchers
            lines = [line for sign, line in CLUSTERS.items() if sign in str(error)]
            if str(error).startswith(LOGGING):
                why_not = f"{error}: {error.__cause__}" if error.__cause__ else error
                line = "leave out what you set of hydra.job_logging or hydra.hydra_logging"
                lines = [f"logging cannot be set up: {why_not}; {line}"]
            if not lines:
                raise
            raise UserError(lines[0]) from error
        except OSError as error:  # Hydra writes, too
            place = "hydra.sweep.dir" if sweep else "hydra.run.dir"
            raise disk.explained(error, {place: folder.absolute()}) from error
        results = [Result.read(file.parent) for file in fresh(folder, before)]
        if sweep:
            for file in folder.glob("*.yaml"):
                mask_file(file)
            end_of_sweep(results, None if command.dry_run else folder)
        elif task.mistake:
            return 2
        failed = any(result.status == "failed" for result in results)
        if command.dry_run:
            print_total(folder)
            return 1 if failed else printing.lost()
        return 1 if failed or len(results) < command.jobs else 0


@contextmanager
def folder_of(hydra: Any, name: str, words: list[str], command: preflight.Command) -> Iterator[Path]:
    """Where the jobs of a command write; a forecast leaves nothing behind, a sweep is shown as running."""
    if command.dry_run:
        with tempfile.TemporaryDirectory(prefix="rerankbench-") as folder:
            yield Path(folder)
        return
    mode = RunMode.MULTIRUN if command.multirun else RunMode.RUN
    composed = hydra.compose_config(name, words, mode)
    HydraConfig.instance().set_config(composed)
    if not command.multirun:
        yield Path(composed.hydra.run.dir)
        return
    place = Path(composed.hydra.sweep.dir)
    with sweep_run.shown(composed, place):
        yield place


def result_files(folder: Path) -> list[Path]:
    """The results in a command's folder and in those of its jobs."""
    return [*folder.glob("result.json"), *folder.glob("*/**/result.json")]


def fresh(folder: Path, before: Collection[tuple[str, int, int]]) -> list[Path]:
    """The results that jobs of a command wrote, in the order in which they finished.

    They are told from earlier ones by what lay there before, not by time: clocks are set back at times.
    """
    files = [file for file in result_files(folder) if stamp(file) not in before]
    return sorted(files, key=lambda file: file.stat().st_mtime)


def stamp(file: Path) -> tuple[str, int, int]:
    """What a file that was written again does not share with what it was."""
    found = file.stat()
    return str(file), found.st_ino, found.st_mtime_ns


def end_of_sweep(results: Sequence[Result], folder: Path | None) -> None:
    """How many runs are done, and each failure once, with the runs that share it.

    `folder`: where they are; None for forecasts, of which only those that failed are known here.
    """
    if not results:
        return
    by_reason: dict[str, list[str]] = {}
    for result in (result for result in results if result.status == "failed"):
        lines = (re.sub(r"^model \S+: ", "model: ", line) for line in str(result.error).splitlines())
        by_reason.setdefault(" | ".join(dict.fromkeys(lines)), []).append(result.arm)
    if folder is not None:
        done = len(results) - sum(map(len, by_reason.values()))
        say(f"sweep      {done} of {len(results)} runs done, in {folder.absolute()}")
    for reason, arms in by_reason.items():
        say(f"failed: {', '.join(arms)}: {reason}", error=True)


def print_total(folder: Path) -> None:
    """The sum of a sweep's forecasts."""
    from rerankbench.experiment.estimate import duration

    seconds = [float(file.read_text()) for file in folder.rglob(FORECAST_FILE)]
    if len(seconds) > 1:
        say(f"all {len(seconds)} runs: {duration(sum(seconds))}")
