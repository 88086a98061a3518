"""Checks of a whole command, sweeps included, before anything is run: every mistake, once."""

from __future__ import annotations

import copy
import importlib.util
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from rerankbench import complaints, config, config_files, config_trust, sweep_size, targets
from rerankbench.errors import UserError
from rerankbench.tracking import place_problem

CANNOT = (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError, OSError)
# Where models and data lie: in a sweep, one that cannot be read stops its own jobs and no others.
PLACES = ("reranker.model", "embedder.model", "dataset.", "first_stage.path")
# Settings that matter with one value of another only, and what that is by default.
COUNTS_WITH = {
    "first_stage.dense_weight": ("first_stage.fusion", "weighted"),
    "reranker.window_overlap": ("reranker.long_documents", "max_passage"),
}
OTHERWISE = {"first_stage.fusion": "rrf", "reranker.long_documents": "truncate"}
NO_KEY = re.compile(r"((\w+)\.[\w.]+)=.*: there is no such key")


def conf_folder() -> Path:
    """The shipped configs: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    places = (here / "conf", here.parents[1] / "conf")
    return next(place for place in places if (place / "config.yaml").is_file())


@dataclass(frozen=True)
class Command:
    """A command that can be run: how many jobs it stands for, and whether it only asks for a forecast.

    `added`: settings that fit every swept option, but not the default one, which Hydra would refuse.
    """

    jobs: int = 1
    dry_run: bool = False
    added: tuple[str, ...] = ()


def check(arguments: Sequence[str]) -> Command | None:
    """What a command stands for; None where it only asks for help or a config.

    Raises UserError with every problem of its configs. Jobs of a sweep whose model or data cannot be read
    are left to fail on their own, unless no job could run.
    """
    parsed = parse(arguments)
    if parsed.help or parsed.hydra_help or parsed.shell_completion:
        return None
    with composing(parsed) as loader:
        plan = Plan(loader, parsed.config_name or "config", list(parsed.overrides), bool(parsed.multirun))
        if not parsed.cfg and parsed.info is None:
            return plan.check()
        plan.check_shown()
        return None


def parse(arguments: Sequence[str]) -> Namespace:
    """Hydra's own arguments and the overrides."""
    parser = get_args_parser()
    parser.error = refuse_arguments  # type: ignore[method-assign]
    parsed, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        raise UserError([dashed(word) for word in unknown])
    if parsed.experimental_rerun is not None:
        raise UserError(
            f"--experimental-rerun {parsed.experimental_rerun}: reads a pickle, which can run code; "
            "run the command again, what was computed is reused"
        )
    if parsed.resolve and not parsed.cfg:
        raise UserError("--resolve: goes together with --cfg job; add it, or leave --resolve out")
    folder = parsed.config_dir
    if folder is not None and not Path(folder).is_dir():
        what = "is a file" if Path(folder).exists() else "does not exist"
        raise UserError(
            f"--config-dir {folder}: {what}; give a folder with groups such as reranker/mine.yaml"
        )
    for name in ("config.yaml", "hydra/config.yaml"):
        if folder is not None and (Path(folder) / name).exists():
            raise UserError(
                f"--config-dir {folder}: its {name} would take the package's place; keep options only"
            )
    parsed.overrides = [*parsed.overrides, *upwards(parsed.overrides)]
    return parsed


def upwards(lines: Sequence[str]) -> list[str]:
    """What Optuna's own option needs besides: by itself it looks for the smallest value, the worst arm."""
    told = any(line.startswith("hydra.sweeper.direction=") for line in lines)
    return ["hydra.sweeper.direction=maximize"] if "hydra/sweeper=optuna" in lines and not told else []


def refuse_arguments(message: str) -> NoReturn:
    raise UserError(f"{message}; rerankbench --help shows what there is")


def dashed(word: str) -> str:
    if "=" in word:
        return f"{word}: settings are written without dashes: {word.lstrip('-')}"
    return f"{word}: there is no such argument; rerankbench --help shows what there is"


class OwnOptions(SearchPathPlugin):
    """Looks into `--config-dir` first.

    Hydra would look there last, and a user's reranker/base.yaml would do nothing.
    """

    folder: Path | None = None

    @classmethod
    def use(cls, config_dir: str | None) -> None:
        cls.folder = None if config_dir is None else Path(config_dir).absolute()
        Plugins.instance().register(cls)
        config_files.check_all()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend("command-line", self.folder.as_uri(), SearchPathQuery(provider="main"))


@contextmanager
def composing(parsed: Namespace) -> Iterator[ConfigLoaderImpl]:
    """A loader with the search path that the command itself is going to have."""
    GlobalHydra.instance().clear()
    OwnOptions.use(parsed.config_dir)
    path = create_config_search_path(str(Path(parsed.config_path or conf_folder()).absolute()))
    try:
        loader = Hydra.create_main_hydra2(task_name="rerankbench", config_search_path=path).config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        config_files.count_files(loader)
        yield loader
    finally:
        GlobalHydra.instance().clear()


class Plan:
    """A command's settings, and the jobs that come of them."""

    def __init__(self, loader: ConfigLoaderImpl, name: str, lines: list[str], multirun: bool) -> None:
        self.loader, self.name, self.lines, self.asked_multirun = loader, name, lines, multirun
        self.parser = OverridesParser.create(config_loader=loader)
        self.problems: list[str] = []
        self.bases: dict[tuple[str, ...], DictConfig] = {}
        self.bare: dict[tuple[str, ...], DictConfig] = {}
        self.seen: dict[str, Any] = {}

    def check(self) -> Command:
        self.overrides = [override for line in self.lines if (override := self.override(line))]
        self.overrides = [override for override in self.overrides if self.possible(override)]
        if self.master is None:
            raise UserError(self.problems)
        self.check_hydra()
        if not self.multirun:
            self.problems += [
                sweep_alone(override) for override in self.overrides if override.is_sweep_override()
            ]
        jobs = self.jobs()
        found = [self.job_problems(job) for job in jobs]
        self.problems += self.idle(jobs)
        self.judge(jobs, found)
        return Command(len(jobs), bool(self.dry_run(jobs[0])), self.added())

    def check_shown(self) -> None:
        """Check what is only shown: its settings can be applied; values may be wrong or missing yet."""
        self.overrides = [override for line in self.lines if (override := self.override(line))]
        self.overrides = [override for override in self.overrides if self.possible(override)]
        if self.master is not None:
            self.check_hydra()
            self.compose([o for o in self.overrides if not o.is_sweep_override()])
            self.problems += [sweep_alone(o) for o in self.overrides if o.is_sweep_override()]
        if self.problems:
            raise UserError(list(dict.fromkeys(self.problems)))

    def override(self, line: str) -> Override | None:
        """One word of the command line as a setting; None after noting why it is none."""
        try:
            (found,) = self.parser.parse_overrides([line])
        except (HydraException, ValueError):
            groups = [g for g in (*config.GROUPS, "experiment") if line in self.loader.get_group_options(g)]
            self.problems.append(complaints.unreadable(line, [f"{group}={line}" for group in groups]))
            return None
        if not found.key_or_group:
            self.problems.append(complaints.unreadable(line))
            return None
        if too_many := sweep_size.problem([found]):
            self.problems.append(too_many)
            return None
        if found.is_sweep_override() and not found.is_discrete_sweep() and self.expands:
            self.problems.append(
                f"{line}: intervals need a sweeper that chooses from them; give values: KEY=1,2,3"
            )
            return None
        return found

    def possible(self, override: Override) -> bool:
        """Whether a group has the options asked of it; notes those that it does not have."""
        group = override.key_or_group
        if self.is_group(override) and override.is_add() and group in config.GROUPS:
            self.problems.append(f"{override.input_line}: {group} has an option already; write it without +")
            return False
        if override.package is not None:
            self.problems.append(f"{override.input_line}: options have no package here; write {group}=OPTION")
            return False
        if not self.is_group(override) or override.is_delete():
            return True
        options = self.loader.get_group_options(group)
        if any("hydra.searchpath" in line for line in self.lines):
            return True  # options may come from there
        wrong = [value for value in self.values(override) if value not in options]
        if group == "experiment":
            wrong = [value for value in wrong if value != "null"]
        self.problems += [complaints.unknown_option(group, value, options) for value in wrong]
        return not wrong

    def values(self, override: Override) -> list[str]:
        if override.is_sweep_override():
            return [str(value).strip("'\"") for value in override.sweep_string_iterator()]
        return [complaints.shown(override.value())]

    def is_group(self, override: Override) -> bool:
        return "@" not in override.key_or_group and self.loader.repository.group_exists(override.key_or_group)

    @cached_property
    def expands(self) -> bool:
        """Whether Hydra's own sweeper is used; others choose values as they go."""
        return not any(
            line.startswith("hydra/sweeper=") and line != "hydra/sweeper=basic" for line in self.lines
        )

    @cached_property
    def master(self) -> DictConfig | None:
        """The command's config with Hydra's part, sweeps left out; None after noting why there is none."""
        fixed = [o for o in self.overrides if not o.is_sweep_override()]
        try:
            return self.base([o for o in fixed if self.is_group(o)])
        except CANNOT as error:
            self.problems.append(complaints.plain(error))
            return None

    def base(self, groups: Sequence[Override]) -> DictConfig:
        """The config that the chosen options make, before single values are set.

        Raises UserError where it would make Hydra build what a config may not name.
        """
        key = tuple(str(override.input_line) for override in groups)
        if key not in self.bases:
            made = config_trust.load(self.loader, conf_folder(), self.name, list(key))
            if found := [*targets.problems(made.hydra), *targets.command_problems(made.hydra)]:
                raise UserError(found)
            if found := config_trust.problems(made, self.loader, conf_folder(), groups, self.overrides):
                raise UserError(found)
            self.bases[key] = made
        return self.bases[key]

    def without_hydra(self, groups: Sequence[Override]) -> DictConfig:
        """`base`, small enough to be copied for every job."""
        key = tuple(str(override.input_line) for override in groups)
        if key not in self.bare:
            self.bare[key] = copy.deepcopy(self.base(groups))
            OmegaConf.set_struct(self.bare[key], False)
            del self.bare[key]["hydra"]
            OmegaConf.set_struct(self.bare[key], True)
        return self.bare[key]

    def check_hydra(self) -> None:
        """Apply the settings that are Hydra's own: where to write, how to launch."""
        assert self.master is not None
        for override in self.overrides:
            if override.key_or_group.startswith("hydra.") and not override.is_sweep_override():
                self.apply(override, self.master)
            elif override.key_or_group.startswith(tuple(f"hydra.{part}" for part in targets.BUILT)):
                self.problems.append(f"{override.input_line}: cannot be swept; give one value")
        if found := targets.problems(self.master.hydra):
            raise UserError([*self.problems, *found])
        self.problems += self.output_problems()
        aim = OmegaConf.select(self.master, "hydra.sweeper.direction")
        if aim is not None and not str(aim).endswith("maximize"):
            self.problems.append(f"hydra.sweeper.direction={aim}: looks for the worst arm; give maximize")
        for kind in ("launcher", "sweeper"):
            if not importable(str(self.master.hydra[kind].get("_target_", ""))):
                chosen = self.master.hydra.runtime.choices[f"hydra/{kind}"]
                self.problems.append(
                    f"hydra/{kind}={chosen} needs a plugin of Hydra: pip install 'rerankbench[launchers]'"
                )

    def output_problems(self) -> list[str]:
        """Why Hydra could not make the folder in which results are written."""
        assert self.master is not None
        hydra, kind = self.master.hydra, "sweep" if self.multirun else "run"
        found = []
        try:
            place = str(hydra[kind].dir or "")
            subdir = str(OmegaConf.to_container(hydra.sweep)["subdir"]) if self.multirun else "."  # type: ignore[index, call-overload]
        except OmegaConfBaseException as error:
            return [f"hydra.{kind}.dir: {complaints.plain(error)}; give a folder"]
        if "dry_run=true" in self.lines:
            return []
        if place.strip() in ("", "None"):
            found.append(f"hydra.{kind}.dir={place}: give a folder for the results")
        elif problem := place_problem(Path(place).absolute() / "result.json"):
            found.append(f"hydra.{kind}.dir={place}: {problem}")
        if Path(subdir).is_absolute() or ".." in Path(subdir).parts:
            found.append(f"hydra.sweep.subdir={subdir}: leads out of hydra.sweep.dir; give a name")
        return found

    @property
    def multirun(self) -> bool:
        assert self.master is not None
        return self.asked_multirun or str(self.master.hydra.mode).endswith("MULTIRUN")

    @property
    def preset(self) -> dict[str, Any]:
        """What a preset sweeps over, unless the command line says otherwise."""
        assert self.master is not None
        return dict(OmegaConf.select(self.master, "hydra.sweeper.params") or {})

    def jobs(self) -> list[list[Override]]:
        """The settings of every job; those of one job without a sweep, or where a sweeper chooses them."""
        if not self.multirun:
            return [[o for o in self.overrides if not o.is_sweep_override()]]
        lines = [f"{key}={value}" for key, value in self.preset.items()] if self.expands else []
        try:
            parsed = [*self.parser.parse_overrides(lines), *self.overrides]
            if too_many := sweep_size.problem(parsed if self.expands else ()) or self.trials_problem():
                raise UserError([*self.problems, too_many])
            if not self.expands:
                self.look_at_options(parsed)
                return [[o for o in parsed if not o.is_sweep_override()]]
            jobs = BasicSweeper.split_arguments(parsed, None)[0]
            return [self.parser.parse_overrides(list(job)) for job in jobs]
        except CANNOT as error:
            raise UserError([*self.problems, f"hydra.sweeper.params: {complaints.plain(error)}"]) from None

    def trials_problem(self) -> str:
        """Why a sweeper that chooses values as it goes would never be done; empty if it would."""
        assert self.master is not None
        trials = OmegaConf.select(self.master, "hydra.sweeper.n_trials")
        if trials is None or (isinstance(trials, int) and trials <= sweep_size.MOST_JOBS):
            return ""
        return f"hydra.sweeper.n_trials={trials}: at most {sweep_size.MOST_JOBS:,} are possible"

    def look_at_options(self, parsed: Sequence[Override]) -> None:
        """Compose every option that a sweeper may choose, for what it may not name."""
        groups = [o for o in parsed if self.is_group(o)]
        fixed = [o for o in groups if not o.is_sweep_override()]
        for override in (o for o in groups if o.is_sweep_override()):
            for value in self.values(override):
                (chosen,) = self.parser.parse_overrides([f"{override.key_or_group}={value}"])
                self.base([*fixed, chosen])

    def job_problems(self, job: Sequence[Override]) -> list[str]:
        """What is wrong with one job's config."""
        before, self.problems = self.problems, []
        try:
            composed, broken = self.compose(job)
            try:
                config.read(composed, seen=self.seen)
            except UserError as error:
                self.problems += [line for line in error.problems if not line.startswith(tuple(broken))]
        except CANNOT as error:
            self.problems.append(complaints.plain(error))
        found, self.problems = self.problems, before
        return found

    def compose(self, job: Sequence[Override]) -> tuple[DictConfig, list[str]]:
        """A job's config, and the keys whose setting was refused."""
        groups = [o for o in job if self.is_group(o)]
        composed = copy.deepcopy(self.without_hydra(groups))
        values = [o for o in job if not self.is_group(o) and not o.key_or_group.startswith("hydra.")]
        return composed, [o.key_or_group for o in values if not self.apply(o, composed, job)]

    def option(self, override: Override, job: Sequence[Override]) -> str:
        """Which option of the setting's group is chosen, since other options have other keys."""
        group = override.key_or_group.partition(".")[0]
        choices = self.base([o for o in job if self.is_group(o)]).hydra.runtime.choices
        return f" (this is {group}={choices[group]})" if choices.get(group) else ""

    def apply(self, override: Override, composed: DictConfig, job: Sequence[Override] = ()) -> bool:
        """Set one value; False after noting why it cannot be."""
        key = override.key_or_group
        try:
            ConfigLoaderImpl._apply_overrides_to_config([override], composed)
        except CANNOT as error:
            line = refused(override, composed, error)
            self.problems.append(line + (self.option(override, job) if "no such key" in line else ""))
            return False
        except TypeError:  # a key below something that is no group
            self.problems.append(f"{key}={complaints.shown(override.value())}: there is no such key")
            return False
        return True

    def judge(self, jobs: list[list[Override]], found: list[list[str]]) -> None:
        """Raise what stops the command."""
        misfits = self.misfits(jobs, found)
        told = tuple(f"{key}=" for key in misfits)
        found = [[line for line in lines if not told or not line.startswith(told)] for lines in found]
        shared = [line for line in found[0] if all(line in lines for lines in found)]
        every = all(found)
        own = dict.fromkeys(line for lines in found for line in lines if line not in shared)
        named = [
            line + self.which([job for job, lines in zip(jobs, found, strict=True) if line in lines], line)
            for line in own
            if every or not line.startswith(PLACES)
        ]
        if lines := list(dict.fromkeys([*self.problems, *misfits.values(), *shared, *named])):
            raise UserError(lines)

    def misfits(self, jobs: list[list[Override]], found: list[list[str]]) -> dict[str, str]:
        """Keys that only some of the swept options of their group have, and what to do about each."""
        said: dict[str, str] = {}
        for match in (match for lines in found for line in lines if (match := NO_KEY.match(line))):
            key, group = match[1], match[2]
            lacks = [any(one[1] == key for one in map(NO_KEY.match, lines) if one) for lines in found]
            if all(lacks) or group not in self.swept:
                continue
            having, without = (options_of(group, jobs, lacks, side) for side in (False, True))
            line = match[0].removesuffix(": there is no such key")
            said[key] = (
                f"{line}: fits {group}={having} and not {without}; "
                "run a sweep for each, then compare them with rerankbench-report SWEEP_A SWEEP_B"
            )
        return said

    def idle(self, jobs: Sequence[Sequence[Override]]) -> list[str]:
        """Settings that were given though no job has the option to which alone they matter."""
        given = {o.key_or_group: o for o in self.overrides if o.key_or_group in COUNTS_WITH}
        if not given:
            return []
        before, self.problems = self.problems, []
        composed = [self.compose(job)[0] for job in jobs]
        self.problems = before
        return [
            f"{override.input_line}: counts only with {option}={value}; add that, or leave this out"
            for key, override in given.items()
            for option, value in [COUNTS_WITH[key]]
            if all(OmegaConf.select(one, option) == OTHERWISE[option] for one in composed)
        ]

    def added(self) -> tuple[str, ...]:
        """Settings of a sweep that the default option of their group does not have."""
        assert self.master is not None
        master = copy.deepcopy(self.master)
        values = [o for o in self.overrides if not self.is_group(o) and not o.is_sweep_override()]
        before, self.problems = self.problems, []
        lines = [str(o.input_line) for o in values if self.multirun and not self.apply(o, master)]
        self.problems = before
        return tuple(lines)

    @property
    def swept(self) -> set[str]:
        """Keys and groups that the jobs do not share."""
        return {o.key_or_group for o in self.overrides if o.is_sweep_override()} | set(map(str, self.preset))

    def which(self, jobs: Sequence[Sequence[Override]], line: str) -> str:
        """What the jobs that have a problem share, where the problem itself does not say it."""
        told = [[str(o.input_line) for o in job if o.key_or_group in self.swept] for job in jobs]
        shared = [setting for setting in told[0] if all(setting in settings for settings in told)]
        shared = [setting for setting in shared if not line.startswith(setting)]
        return f" (in the job{'s with' if len(jobs) > 1 else ''} {' '.join(shared)})" if shared else ""

    def dry_run(self, job: Sequence[Override]) -> bool:
        return self.compose(job)[0].dry_run is True


def options_of(group: str, jobs: list[list[Override]], lacks: list[bool], side: bool) -> str:
    """The options of a group in the jobs that lack a key, or in those that have it."""
    chosen = [str(o.input_line).partition("=")[2] for job, lack in zip(jobs, lacks, strict=True)
              if lack is side for o in job if o.key_or_group == group]  # fmt: skip
    return ", ".join(dict.fromkeys(chosen))


def importable(target: str) -> bool:
    """Whether the module of a class is installed; nothing is run."""
    try:
        return importlib.util.find_spec(target.rpartition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def sweep_alone(override: Override) -> str:
    line = str(override.input_line)
    key, _, value = line.partition("=")
    brackets = "" if "(" in value else f", or brackets for a list: {key}=[{value}]"
    return f"{line}: several values need -m for a sweep{brackets}"


def refused(override: Override, composed: DictConfig, error: BaseException) -> str:
    """Why one setting cannot be applied."""
    key, line = override.key_or_group, str(override.input_line)
    value = line.partition("=")[2]
    cause = error.__cause__ or error
    parent = key.rpartition(".")[0]
    if parent and not OmegaConf.is_config(OmegaConf.select(composed, parent)) and parent in composed:
        return f"{line}: {parent} holds a value, not keys; write {parent}=VALUE"
    if override.is_add() and "already at" in str(error):
        return f"{line}: {key} is there already; write {line.lstrip('+')}"
    if override.is_delete():
        return f"{line}: {key} cannot be taken away; give it a value, {key}=VALUE"
    if "@" in key or override.package is not None:
        return f"{line}: options have no package here; write {key.partition('@')[0]}={value}"
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        return missing_key(key, value, composed, cause)
    return complaints.wrong_value(key, value, cause)


def possible(group: str, node: DictConfig) -> list[str]:
    """The keys that a group's settings may have, listed in its option or not."""
    if group not in config.GROUPS:
        return []
    kinds = config.options(group)
    key = config.GROUPS[group].key
    kind = str(node.get(key)) if key else ""
    return [f.name for f in fields(kinds[kind])] if kind in kinds else []


def missing_key(key: str, value: str, composed: DictConfig, cause: BaseException) -> str:
    """A key that is not in the config, with those that are."""
    full = str(getattr(cause, "full_key", "") or key)
    parent, _, name = (full if key.startswith(full) else key).rpartition(".")
    try:
        node = OmegaConf.select(composed, parent) if parent else composed
    except OmegaConfBaseException:
        node = None
    if isinstance(node, DictConfig):
        known = [str(k) for k in node if k != "hydra"]
        if name in known:  # the value holds the wrong key
            inside = ", ".join(map(str, node[name] or ()))
            return f"{key}={value}: {complaints.plain(cause)}; known keys: {inside}"
        if name in possible(parent, node):
            return (
                f"{key}={value}: this option's file does not list {name}; write +{key}={value}, or put the "
                f"line `defaults: [/schema/{parent}/KIND@_here_, _self_]` into it, as the package's have"
            )
        return complaints.unknown_key(f"{parent}." if parent else "", name, value, known)
    return f"{key}={value}: there is no such key; {parent} holds a value, not keys"
