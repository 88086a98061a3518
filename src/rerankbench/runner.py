"""From a command line to finished runs: checks everything first, then lets Hydra run the jobs."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import rerankbench
from rerankbench import complaints, config, disk, preflight, usage
from rerankbench.errors import UserError
from rerankbench.masking import mask_file, masked
from rerankbench.result import Result
from rerankbench.tracking import Tracking, why
from rerankbench.visible import Lines, guard_logs, say

log = logging.getLogger(__name__)

STOP_SECONDS = 8.0  # after which a stop no longer waits for the batch that is being computed
FORECAST_FILE = "forecast_seconds"


class Stopped(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, but the exit code says which it was."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake."""
    quiet_libraries()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--version" in arguments:  # Hydra would tell its own
        say(f"rerankbench {rerankbench.__version__}")
        return 0
    config.register_schemas()
    try:
        with stopping_cleanly():
            command = preflight.check(arguments)
            return show(arguments) if command is None else launch(arguments, command)
    except UserError as error:
        return complain(error)
    except (HydraException, OmegaConfBaseException) as error:
        return complain(UserError(complaints.plain(error)))
    except BrokenPipeError:  # whoever read what we print has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:  # Hydra writes, too
        found = disk.explained(error, Folders.places())
        if isinstance(found, UserError):
            return complain(found)
        raise
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
    code = 128 + number
    timer = threading.Timer(STOP_SECONDS, leave, [code])
    timer.daemon = True
    timer.start()
    raise Stopped if number == signal.SIGTERM else KeyboardInterrupt


def leave(code: int) -> None:
    """The end of a stop that something holds up; what was written so far is kept."""
    say("stopped; what was written is kept: the same command continues", error=True)
    os._exit(code)


def show(arguments: list[str]) -> int:
    """Help, or a config that is only printed."""
    parsed = preflight.parse(arguments)
    if not parsed.help:
        try:
            with seen():
                run_hydra(arguments)
        except SystemExit as end:  # Hydra's way of ending its own help, and of its errors
            return 2 if end.code else 0
        except preflight.CANNOT as error:
            raise UserError(complaints.plain(error)) from None
        return 0
    own = [Path(parsed.config_dir)] if parsed.config_dir else []
    say(*usage.text([*own, preflight.conf_folder()]).splitlines())
    return 0


@contextmanager
def seen() -> Iterator[None]:
    """What Hydra prints inside, such as a stranger's config, as it may be shown."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        say(Lines(printed.getvalue()), end="")


def launch(arguments: list[str], command: preflight.Command) -> int:
    """Let Hydra compose the jobs and run `job` for each; then say what failed."""
    arguments = [f"++{word}" if word in command.added else word for word in arguments]
    if not command.dry_run:
        run_hydra(arguments)
        return finish(command)
    with tempfile.TemporaryDirectory(prefix="rerankbench-") as folder:  # a forecast leaves nothing behind
        run_hydra([*arguments, f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'"])
        return total(Path(folder)) or finish(command)


def run_hydra(arguments: list[str]) -> None:
    """Hydra reads sys.argv and prints its own errors; what could go wrong was checked before."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a trace and ends the process itself
    before, parsed = sys.argv, preflight.parse(arguments)
    preflight.OwnOptions.use(parsed.config_dir)
    words = [word for word in without(arguments, str(parsed.config_dir)) if word not in parsed.overrides]
    sys.argv = [before[0], *words, *parsed.overrides]  # Hydra takes no settings on both sides of its -m
    try:
        hydra.main(config_path=str(preflight.conf_folder()), config_name="config", version_base="1.3")(job)()
    except (RuntimeError, ConnectionError, ValueError) as error:
        if line := complaints.no_cluster(error):
            raise UserError(line) from error
        raise
    finally:
        sys.argv = before


def without(arguments: Sequence[str], config_dir: str) -> list[str]:
    """Arguments without `--config-dir FOLDER`, however it is written."""
    joined = {f"{flag}={config_dir}" for flag in ("--config-dir", "-cd")}
    kept = [word for word in arguments if word not in joined]
    for flag in ("--config-dir", "-cd"):
        if flag in kept:
            del kept[kept.index(flag) : kept.index(flag) + 2]
    return kept


class Folders(Callback):
    """Notes where the command's jobs write; Hydra makes one in the process that starts them."""

    current: Path = Path()
    sweep: bool = False
    mistake: bool = False  # whether a single run failed by a mistake in its data, the user's to mend
    before: frozenset[tuple[str, int, int]] = frozenset()  # results of earlier commands

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        Folders.current, Folders.sweep = Path(config.hydra.run.dir), False
        Folders.mistake, Folders.before = False, frozenset(map(stamp, result_files()))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Folders.current, Folders.sweep = Path(config.hydra.sweep.dir), True
        Folders.before = frozenset(map(stamp, result_files()))
        Folders.current.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, Folders.current / "multirun.yaml")  # other sweepers than Hydra's write none

    @classmethod
    def places(cls) -> dict[str, Path]:
        """The folder that the command writes to, by the setting that moves it elsewhere."""
        return {"hydra.sweep.dir" if cls.sweep else "hydra.run.dir": cls.current.absolute()}


def job(cfg: DictConfig) -> float:
    """One experiment of the command; a failure becomes its result and never stops the other jobs.

    Returns the reranked value of the report's measure, for sweepers that optimise.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    labels = {group: str(choice) for group, choice in hydra_config.runtime.choices.items()}
    overrides = telling(hydra_config)
    for file in (folder / str(hydra_config.output_subdir)).glob("*.yaml"):
        mask_file(file)
    result = attempt(cfg, labels, overrides, folder, sweep_name(hydra_config))
    return objective(result, cfg)


def objective(result: Result, cfg: DictConfig) -> float:
    """What a sweeper maximises: the report's measure; over the latency budget, the excess as a loss."""
    allowed = OmegaConf.select(cfg, "report.budget.latency_p95_ms")
    taken = (result.latency_ms or {}).get(str(result.depth), {}).get("p95")
    if allowed and taken and taken > allowed:
        return 1 - taken / allowed
    return result.measures.get("reranked", {}).get(cfg.report.measure, float("nan"))


def telling(hydra_config: Any) -> list[str]:
    """This job's values that its name tells: keys that the sweep varies, and a model of one's own."""
    keys = {"reranker.model"} | (varied(hydra_config) if is_sweep(hydra_config) else set())
    return [line for line in map(str, hydra_config.overrides.task) if line.partition("=")[0] in keys]


def varied(hydra_config: Any) -> set[str]:
    """The keys that the jobs of a sweep do not share."""
    command = OmegaConf.load(Path(hydra_config.sweep.dir) / "multirun.yaml")  # written before the jobs start
    lines = [f"{key}={value}" for key, value in (hydra_config.sweeper.get("params") or {}).items()]
    lines += [str(line) for line in command.hydra.overrides.task]
    parsed = OverridesParser.create().parse_overrides(lines)
    return {override.get_key_element() for override in parsed if override.is_sweep_override()}


def is_sweep(hydra_config: Any) -> bool:
    return str(hydra_config.mode).endswith("MULTIRUN")


def attempt(
    cfg: DictConfig, labels: dict[str, str], overrides: list[str], folder: Path, sweep_id: str
) -> Result:
    """Run one experiment; log and write its result, or the failure in its place."""
    from rerankbench import outputs, summary

    experiment = None
    try:
        experiment = config.read(cfg, labels, overrides)
        if experiment.dry_run:
            return only_forecast(experiment, folder)
        result = perform(experiment, folder, sweep_id)
    except Exception as fault:
        cache = {"cache_dir": experiment.cache_dir} if experiment else {}
        place = "hydra.sweep.dir" if sweep_id else "hydra.run.dir"
        error = disk.explained(fault, {**cache, place: folder.absolute()})
        Folders.mistake = isinstance(error, UserError)
        result = outputs.failure(experiment, labels, error, sweep_id)
        if outputs.keep_failure(result, folder) and cfg.dry_run is not True:
            track(cfg, result, folder)
        summary.show_failure(result, error)
        return result
    summary.show(result, folder, experiment.tracking)
    return result


def only_forecast(experiment: config.Experiment, folder: Path) -> Result:
    """Print what the experiment would take; nothing is kept."""
    from rerankbench.forecast import forecast
    from rerankbench.outputs import arm

    found = forecast(experiment)
    (folder / FORECAST_FILE).write_text(repr(found.seconds))
    say(*found.lines())
    return Result(arm=arm(experiment), status="forecast")


def perform(experiment: config.Experiment, folder: Path, sweep_id: str) -> Result:
    """Run and write; then log, which may fail without harm."""
    from rerankbench import outputs
    from rerankbench.experiment import run

    outcome = run(experiment)
    result = outputs.summarize(outcome, sweep_id)
    outputs.write(folder, result, outcome)
    track(experiment.tracking, result, folder)
    return result


def track(tracking: DictConfig | Tracking, result: Result, folder: Path) -> None:
    """Log to the tracking store; results are in the folder already, so its absence is no failure."""
    try:
        if isinstance(tracking, DictConfig):  # of a config that may be wrong elsewhere
            tracking = config.read_tracking(tracking)
        tracking.log(result, folder)
    except Exception as error:
        later = f"rerankbench-track {folder}"
        log.warning("not in MLflow (%s); the results are kept, log them later with: %s", why(error), later)


def sweep_name(hydra_config: Any) -> str:
    """What the runs of one sweep share, empty for a single run: the sweep folder's last two parts."""
    if is_sweep(hydra_config):
        return "/".join(Path(hydra_config.sweep.dir).parts[-2:])
    return ""


def finish(command: preflight.Command) -> int:
    """Say which jobs failed. Read from their files, since jobs may have run in other processes."""
    results = written()
    failed = [result for result in results if result.status == "failed"]
    if Folders.sweep:
        for file in Folders.current.glob("*.yaml"):
            mask_file(file)
        end_of_sweep(results, failed)
    elif Folders.mistake:
        return 2
    unwritten = 0 if command.dry_run else command.jobs - len(results)
    return 1 if failed or unwritten > 0 else 0


def written() -> list[Result]:
    """The results that jobs of this command wrote, in the order in which they finished.

    They are told from earlier ones by what lay there before, not by time: clocks are set back at times.
    """
    fresh = [file for file in result_files() if stamp(file) not in Folders.before]
    return [Result.read(file.parent) for file in sorted(fresh, key=lambda file: file.stat().st_mtime)]


def result_files() -> list[Path]:
    folder = Folders.current
    return list(folder.rglob("result.json") if Folders.sweep else folder.glob("result.json"))


def stamp(file: Path) -> tuple[str, int, int]:
    """What a file that was written again does not share with what it was."""
    found = file.stat()
    return str(file), found.st_ino, found.st_mtime_ns


def end_of_sweep(results: Sequence[Result], failed: Sequence[Result]) -> None:
    """How many runs are done, and each failure once, with the runs that share it."""
    if not results:
        return
    say(
        f"sweep      {len(results) - len(failed)} of {len(results)} runs done, "
        f"in {Folders.current.absolute()}"
    )
    by_reason: dict[str, list[str]] = {}
    for result in failed:
        by_reason.setdefault(reason_of(result), []).append(result.arm)
    for reason, arms in by_reason.items():
        say(f"failed: {', '.join(arms)}: {reason}", error=True)


def reason_of(result: Result) -> str:
    """Why a run failed, in one line, without what differs between runs that share the cause."""
    lines = (re.sub(r"^model \S+: ", "model: ", line) for line in str(result.error).splitlines())
    return " | ".join(dict.fromkeys(lines))


def total(folder: Path) -> int:
    """The sum of a sweep's forecasts; 0, as an exit code."""
    from rerankbench.forecast import duration

    seconds = [float(file.read_text()) for file in folder.rglob(FORECAST_FILE)]
    if len(seconds) > 1:
        say(f"all {len(seconds)} runs: {duration(sum(seconds))}")
    return 0


def complain(error: UserError) -> int:
    for problem in error.problems:
        say(f"error: {masked(problem)}", error=True)
    return 2


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries underneath would drown ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    guard_logs()
    logging.raiseExceptions = False  # a closed pipe is no reason for traces
    for kind in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=kind)
