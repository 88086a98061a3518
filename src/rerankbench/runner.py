"""From a command line to finished runs: checks everything first, then lets Hydra run the jobs."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

from rerankbench import complaints, config, preflight, usage
from rerankbench.errors import UserError
from rerankbench.masking import mask_file, masked
from rerankbench.result import Result
from rerankbench.tracking import Tracking, why

log = logging.getLogger(__name__)

STOP_SECONDS = 8.0  # after which a stop no longer waits for the batch that is being computed
FORECAST_FILE = "forecast_seconds"


class Stopped(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, but the exit code says which it was."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake."""
    quiet_libraries()
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    except KeyboardInterrupt as stop:
        print("stopped; what was computed is kept: the same command continues", file=sys.stderr)
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
    print("stopped; what was written is kept: the same command continues", file=sys.stderr, flush=True)
    os._exit(code)


def show(arguments: list[str]) -> int:
    """Help, or a config that is only printed."""
    parsed = preflight.parse(arguments)
    if not parsed.help:
        try:
            run_hydra(arguments)
        except SystemExit as end:  # Hydra's way of ending its own help
            return int(end.code or 0)
        return 0
    own = [Path(parsed.config_dir)] if parsed.config_dir else []
    print(usage.text([*own, preflight.conf_folder()]))
    return 0


def launch(arguments: list[str], command: preflight.Command) -> int:
    """Let Hydra compose the jobs and run `job` for each; then say what failed."""
    started = time.time()
    if not command.dry_run:
        run_hydra(arguments)
        return finish(started, command)
    with tempfile.TemporaryDirectory(prefix="rerankbench-") as folder:  # a forecast leaves nothing behind
        run_hydra([*arguments, f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'"])
        return total(Path(folder)) or finish(started, command)


def run_hydra(arguments: list[str]) -> None:
    """Hydra reads sys.argv and prints its own errors; what could go wrong was checked before."""
    before, config_dir = sys.argv, preflight.parse(arguments).config_dir
    preflight.OwnOptions.use(config_dir)
    sys.argv = [before[0], *without(arguments, str(config_dir))]
    try:
        hydra.main(config_path=str(preflight.conf_folder()), config_name="config", version_base="1.3")(job)()
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

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        Folders.current, Folders.sweep = Path(config.hydra.run.dir), False

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Folders.current, Folders.sweep = Path(config.hydra.sweep.dir), True
        Folders.current.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, Folders.current / "multirun.yaml")  # other sweepers than Hydra's write none


def job(cfg: DictConfig) -> float:
    """One experiment of the command; a failure becomes its result and never stops the other jobs.

    Returns the reranked value of the report's measure, for sweepers that optimise.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    labels = {group: str(choice) for group, choice in hydra_config.runtime.choices.items()}
    overrides = swept(hydra_config)
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


def swept(hydra_config: Any) -> list[str]:
    """This job's values of the keys that the sweep varies; those that all jobs share are left out."""
    if not is_sweep(hydra_config):
        return []
    command = OmegaConf.load(Path(hydra_config.sweep.dir) / "multirun.yaml")  # written before the jobs start
    lines = [f"{key}={value}" for key, value in (hydra_config.sweeper.get("params") or {}).items()]
    lines += [str(line) for line in command.hydra.overrides.task]
    parsed = OverridesParser.create().parse_overrides(lines)
    varied = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    return [line for line in map(str, hydra_config.overrides.task) if line.partition("=")[0] in varied]


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
    except Exception as error:
        result = outputs.failure(experiment, labels, error, sweep_id)
        result.write(folder)
        if cfg.dry_run is not True:
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
    print("\n".join(found.lines()), flush=True)
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


def finish(started: float, command: preflight.Command) -> int:
    """Say which jobs failed. Read from their files, since jobs may have run in other processes."""
    results = written_since(started)
    failed = [result for result in results if result.status == "failed"]
    if Folders.sweep:
        for file in Folders.current.glob("*.yaml"):
            mask_file(file)
        end_of_sweep(results, failed)
    return 1 if failed else 0


def written_since(started: float) -> list[Result]:
    """The results that jobs of this command wrote, in the order in which they finished."""
    folder = Folders.current
    files = folder.rglob("result.json") if Folders.sweep else folder.glob("result.json")
    stamped = sorted((file.stat().st_mtime, file) for file in files)
    return [Result.read(file.parent) for time_, file in stamped if time_ >= started - 1]


def end_of_sweep(results: Sequence[Result], failed: Sequence[Result]) -> None:
    """How many runs are done, and each failure once, with the runs that share it."""
    if not results:
        return
    print(
        f"sweep      {len(results) - len(failed)} of {len(results)} runs done, "
        f"in {Folders.current.absolute()}"
    )
    by_reason: dict[str, list[str]] = {}
    for result in failed:
        reason = re.sub(r"^model \S+: ", "model: ", str(result.error))  # one line for all that share a cause
        by_reason.setdefault(reason, []).append(result.arm)
    for reason, arms in by_reason.items():
        print(f"failed: {', '.join(arms)}: {' | '.join(reason.splitlines())}", file=sys.stderr)


def total(folder: Path) -> int:
    """The sum of a sweep's forecasts; 0, as an exit code."""
    from rerankbench.forecast import duration

    seconds = [float(file.read_text()) for file in folder.rglob(FORECAST_FILE)]
    if len(seconds) > 1:
        print(f"all {len(seconds)} runs: {duration(sum(seconds))}")
    return 0


def complain(error: UserError) -> int:
    for problem in error.problems:
        print(f"error: {masked(problem)}", file=sys.stderr)
    return 2


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries underneath would drown ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.raiseExceptions = False  # a closed pipe is no reason for traces
    for kind in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=kind)
