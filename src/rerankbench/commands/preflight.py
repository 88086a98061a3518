"""Checks of a whole command, sweeps included, before anything is run: every mistake, once."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rerankbench.basics import complaints
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands import (
    as_typed,
    command_line,
    composition,
    config,
    config_trust,
    hydra_private,
    partial_keys,
    sweep_size,
    targets,
)
from rerankbench.commands.as_typed import for_shell
from rerankbench.commands.job_problems import JobProblems
from rerankbench.tracking.mlflow_store import place_problem

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError, OSError)
# What can be shown may be incomplete or impossible yet.
SHOWN = ("syntax", "option", "key", "type", "sweep")


@dataclass(frozen=True)
class Command:
    """A command that can be run: how many jobs it stands for, and whether it only asks for a forecast.

    `words`: its settings in Hydra's grammar; `swept`: the keys in which its jobs differ, and
    the values that are listed for them; `partial`: keys that some swept options lack, with these options.
    """

    jobs: int = 1
    dry_run: bool = False
    multirun: bool = False
    words: tuple[str, ...] = ()
    swept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    partial: partial_keys.Partial = field(default_factory=dict)


def check(arguments: Sequence[str]) -> Command | None:
    """What a command stands for; None where it only asks for help or shows a config.

    Raises UserError with every problem of its configs. Jobs of a sweep whose model or data cannot be read
    are left to fail on their own, unless no job could run.
    """
    parsed = command_line.parse(arguments)
    if command_line.shows(parsed):
        return None
    with command_line.composing(parsed):
        return Checker(parsed).command()


def experiment(arguments: Sequence[str]) -> config.RunSettings:
    """The settings of a command that is one job. Raises UserError with every problem."""
    parsed = command_line.parse(arguments)
    with command_line.composing(parsed):
        checker = Checker(parsed)
        checker.command()
        return checker.read(checker.jobs[0])


class Checker:
    """A command's settings and the jobs that come of them; made inside `composing`."""

    def __init__(self, parsed: Namespace) -> None:
        self.typed: list[str] = list(parsed.overrides)
        self.name = parsed.config_name or "config"
        self.loader = hydra_private.config_loader()
        self.options_of = cache(self.loader.repository.get_group_options)
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.problems: list[Problem] = []
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.given: dict[str, Override] = {}
        self.take(self.option, [word for word in self.typed if self.is_group(word)])
        self.options = list(self.given.values())
        self.master = self.compose([o for o in self.options if not o.is_sweep_override()])
        self.multirun = bool(parsed.multirun) or self.mode.endswith("MULTIRUN")
        self.take(self.value, [word for word in self.typed if not self.is_group(word)])

    # --- words ---

    def take(self, read: Callable[[str], Override], words: Sequence[str]) -> None:
        """Read words as settings; why some are none is noted."""
        for word in words:
            try:
                self.given[word] = read(word)
            except UserError as error:
                self.problems += error.typed

    @property
    def values(self) -> list[Override]:
        """The settings of keys, as opposed to choices of options."""
        return [override for override in self.given.values() if override not in self.options]

    def is_group(self, word: str) -> bool:
        key = word.partition("=")[0].lstrip("+~").partition("@")[0]
        return "." not in key and bool(key) and bool(self.options_of(key))

    def option(self, word: str) -> Override:
        """A choice of options. Raises UserError where it cannot be."""
        key, _, value = word.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if word.startswith("~"):
            raise UserError(complaints.not_taken_away(word))
        if "@" in key:
            cure = f"{group}={value}"
            line = f"{word}: options have no package here; write {cure}"
            raise UserError(Problem(line, group, "syntax", word, cure))
        groups = (*config.GROUPS, "experiment")
        if group not in groups and not group.startswith("hydra/"):
            raise UserError(complaints.unknown_key("", group, value, groups))
        chosen = self.parsed(as_typed.option(word.lstrip("+") if group in groups else word), word)
        if too_many := sweep_size.problem([chosen]):
            raise UserError(Problem(too_many, group, "sweep", word))
        if any(w.lstrip("+").startswith("hydra.searchpath=") for w in self.typed):
            return chosen  # options may come from there
        known = self.options_of(group)
        none = ["null"] if group == "experiment" else []
        wrong = [value for value in chosen_options(chosen) if value not in [*known, *none]]
        if wrong:
            raise UserError([complaints.unknown_option(group, value, known) for value in wrong])
        return chosen

    def value(self, word: str) -> Override:
        """A setting of a key. Raises UserError where it cannot be."""
        if word.startswith("~"):
            raise UserError(complaints.not_taken_away(word))
        found = self.parsed(as_typed.word(word, self.multirun), word)
        key = found.key_or_group
        if not key or found.package is not None:
            raise UserError(complaints.unreadable(word))
        if not found.is_sweep_override():
            return found
        if too_many := sweep_size.problem([found]):
            raise UserError(Problem(too_many, key, "sweep", word))
        if not self.multirun:
            raise UserError(complaints.sweep_alone(word, key, as_typed.is_list(key)))
        if not found.is_discrete_sweep() and self.expands:
            line = f"{word}: intervals need a sweeper that chooses from them; give values: KEY=1,2,3"
            raise UserError(Problem(line, key, "sweep", word))
        if key.startswith(tuple(f"hydra.{part}" for part in targets.BUILT)):
            raise UserError(Problem(f"{word}: cannot be swept; give one value", key, "sweep", word))
        return found

    def parsed(self, word: str, typed: str) -> Override:
        """A word as Hydra reads it. Raises UserError where it cannot."""
        try:
            return self.parser.parse_overrides([word])[0]
        except (HydraException, ValueError):
            groups = [g for g in (*config.GROUPS, "experiment") if typed in self.options_of(g)]
            raise UserError(complaints.unreadable(typed, [f"{group}={typed}" for group in groups])) from None

    # --- configs ---

    def compose(self, options: Sequence[Override]) -> DictConfig:
        """The config that chosen options make, before any value is set; composed once.

        Raises UserError where it cannot be composed, or would make Hydra build what a config may not name.
        """
        path = [word for word in self.typed if word.lstrip("+").startswith("hydra.searchpath=")]
        words = tuple(str(o.input_line) for o in options)
        if words not in self.composed:
            try:
                made = config_trust.load(self.loader, conf_folder(), self.name, [*path, *words])
            except CONFIG_ERRORS as error:
                raise UserError([*self.problems, *composition.problems(error, self.loader)]) from None
            if made.get("experiment") is not None:
                file = f"experiment/{made.hydra.runtime.choices.get('experiment')}.yaml"
                line = f"{file}: its first line must be `# @package _global_`; without it its keys do nothing"
                raise UserError([*self.problems, Problem(line, "experiment")])
            if found := [*targets.problems(made.hydra), *targets.command_problems(made.hydra)]:
                raise UserError(found)
            if found := config_trust.problems(made, self.loader, conf_folder(), options, self.typed):
                raise UserError(found)
            self.composed[words] = made
        return self.composed[words]

    def read(self, job: Sequence[Override]) -> config.RunSettings:
        """A job's settings. Raises UserError with every problem.

        Its config is put together without types and without Hydra's part: `config.read` finds what does not
        fit, all of it.
        """
        options = [o for o in job if self.is_group(o.get_key_element())]
        made = self.compose(options)
        job = self.own(job)
        untyped = OmegaConf.create({k: v for k, v in config_trust.written(made).items() if k != "hydra"})
        for override in job:
            if override not in options and not override.is_hydra_override():
                OmegaConf.update(untyped, override.key_or_group, override.value(), force_add=True)
        labels = {group: str(choice) for group, choice in made.hydra.runtime.choices.items()}
        return config.read(untyped, labels, typed={o.key_or_group for o in job})

    def own(self, job: Sequence[Override]) -> list[Override]:
        """A job's settings without those that its options lack and others of the sweep have."""
        choices = {o.key_or_group: str(o.value()) for o in job if self.is_group(o.get_key_element())}
        dropped = partial_keys.lacked(self.partial, choices)
        return [o for o in job if o.key_or_group not in dropped]

    @cached_property
    def partial(self) -> dict[str, tuple[str, ...]]:
        """Keys that only some swept options of their group have, with the options that lack them."""
        if not self.multirun:
            return {}
        groups = [o for o in self.overrides if self.is_group(o.get_key_element())]
        swept = [o for o in groups if o.is_sweep_override() and o.is_discrete_sweep()]
        fixed = [o for o in groups if not o.is_sweep_override()]

        def listed(group: str, option: str, key: str) -> bool:
            return has(self.compose([*fixed, *self.parser.parse_overrides([f"{group}={option}"])]), key)

        keys = [o.key_or_group for o in self.overrides if o not in groups]
        return partial_keys.partial_keys(keys, {o.key_or_group: chosen_options(o) for o in swept}, listed)

    # --- jobs ---

    @property
    def mode(self) -> str:
        given = [word for word in self.typed if word.startswith("hydra.mode=")]
        return given[-1] if given else str(self.master.hydra.mode)

    @property
    def in_order(self) -> list[Override]:
        """All settings as they were typed, which is the order of a sweep's jobs."""
        return [self.given[word] for word in self.typed if word in self.given]

    @cached_property
    def expands(self) -> bool:
        """Whether Hydra's own sweeper is used; others choose values as they go."""
        return str(self.master.hydra.runtime.choices["hydra/sweeper"]) == "basic"

    @cached_property
    def overrides(self) -> list[Override]:
        """What a preset sweeps over, and what the command line says, which wins."""
        preset = dict(OmegaConf.select(self.master, "hydra.sweeper.params") or {}) if self.multirun else {}
        words = [f"{key}={value}" for key, value in preset.items()]
        words = [as_typed.option(w) if self.is_group(w) else as_typed.word(w, True) for w in words]
        try:
            return [*(self.parsed(word, word) for word in words), *self.in_order]
        except UserError as error:
            lines = [problem.saying(f"hydra.sweeper.params: {problem}") for problem in error.typed]
            raise UserError([*self.problems, *lines]) from None

    @cached_property
    def jobs(self) -> list[list[Override]]:
        """The settings of every job; those of one job without a sweep, or where a sweeper chooses them."""
        fixed = [o for o in self.overrides if not o.is_sweep_override()]
        if not self.multirun:
            return [fixed]
        if too_many := sweep_size.problem(self.overrides if self.expands else ()) or self.trials_problem():
            raise UserError([*self.problems, Problem(too_many, "", "sweep")])
        if not self.expands:
            self.look_at_options()
            return [fixed]
        try:
            jobs = [self.parser.parse_overrides(job) for job in hydra_private.expanded(self.overrides)]
        except CONFIG_ERRORS as error:
            raise UserError([*self.problems, complaints.one_line(error)]) from None
        if not jobs:
            nothing = [str(o.input_line) for o in self.overrides if not list(self.listed_values(o))]
            lines = [f"{line}: there is nothing to sweep over; give values: KEY=1,2,3" for line in nothing]
            raise UserError([*self.problems, *(Problem(line, "", "sweep") for line in lines)])
        return jobs

    def listed_values(self, override: Override) -> Iterable[str]:
        """The values that a setting goes through."""
        return override.sweep_string_iterator() if override.is_sweep_override() else [""]

    def trials_problem(self) -> str:
        """Why a sweeper that chooses values as it goes would never be done; empty if it would."""
        trials = OmegaConf.select(self.master, "hydra.sweeper.n_trials")
        if trials is None or (isinstance(trials, int) and trials <= sweep_size.MOST_JOBS):
            return ""
        return f"hydra.sweeper.n_trials={trials}: at most {sweep_size.MOST_JOBS:,} are possible"

    def look_at_options(self) -> None:
        """Compose every option that a sweeper may choose, for what it may not name."""
        options = [o for o in self.overrides if self.is_group(o.get_key_element())]
        fixed = [o for o in options if not o.is_sweep_override()]
        for swept in (o for o in options if o.is_sweep_override()):
            for value in chosen_options(swept):
                self.compose([*fixed, *self.parser.parse_overrides([f"{swept.key_or_group}={value}"])])

    # --- checks ---

    def command(self) -> Command:
        """The checked command. Raises UserError with all of its problems."""
        self.check_hydra()
        if not self.multirun:
            swept = [o for o in self.options if o.is_sweep_override()]
            self.problems += [complaints.sweep_alone(str(o.input_line), o.key_or_group) for o in swept]
        found: list[list[Problem]] = []
        dry_run = False
        for job in self.jobs:
            try:
                dry_run = self.read(job).dry_run or dry_run
                found.append([])
            except UserError as error:
                found.append(error.typed)
        if stopping := JobProblems(self.jobs, found, frozenset(self.swept)).stopping():
            self.problems += self.torn_texts() or stopping
        if self.problems:
            raise UserError(list(dict.fromkeys(self.problems)))
        return Command(len(self.jobs), dry_run, self.multirun, tuple(self.words()), self.swept, self.partial)

    def torn_texts(self) -> list[Problem]:
        """Texts that a sweep took for several values because of their commas, and that work in quotes."""
        found = []
        for typed, override in self.given.items():
            name, _, value = typed.partition("=")
            if not (override.value_type is ValueType.SIMPLE_CHOICE_SWEEP and as_typed.is_text(name)):
                continue
            cure = f"{name}={as_typed.quoted(value)}"
            (whole,) = self.parser.parse_overrides([cure])
            with suppress(UserError):
                self.read([whole if o.key_or_group == whole.key_or_group else o for o in self.jobs[0]])
                line = f"{typed}: -m takes commas for a sweep; to have one value, write {for_shell(cure)}"
                found.append(Problem(line, name, "sweep", typed, cure))
        return found

    def shown(self) -> list[str]:
        """The words for a config that is only shown. Raises UserError where they cannot be applied."""
        self.check_hydra()
        try:
            self.read([o for o in self.overrides if not o.is_sweep_override()])
        except UserError as error:
            self.problems += [problem for problem in error.typed if problem.kind in SHOWN]
        if self.problems:
            raise UserError(list(dict.fromkeys(self.problems)))
        return self.words()

    def words(self) -> list[str]:
        """The command's settings as Hydra takes them, keys that not every option lists with `++`."""
        configs = [self.master, *self.composed.values()]
        known: Callable[[str], bool] = lambda key: all(has(made, key) for made in configs)  # noqa: E731
        words = []
        for o in self.overrides:
            line = str(o.input_line)
            own = o.key_or_group.partition(".")[0] in (*config.GROUPS, *config.ROOT_KEYS)
            if own and not self.is_group(line):
                line = line.lstrip("+") if known(o.key_or_group) else f"++{line.lstrip('+')}"
            words.append(line)
        return words

    @property
    def swept(self) -> dict[str, tuple[str, ...]]:
        """Keys and groups that the jobs do not share, with the values that a sweep lists."""
        swept = [o for o in self.overrides if o.is_sweep_override()]
        return {o.key_or_group: self.listed(o) if o.is_discrete_sweep() else () for o in swept}

    def listed(self, swept: Override) -> tuple[str, ...]:
        lines = [f"{swept.get_key_element()}={value}" for value in swept.sweep_string_iterator()]
        return tuple(complaints.as_text(o.value()) for o in self.parser.parse_overrides(lines))

    def check_hydra(self) -> None:
        """Apply the settings that are Hydra's own: where to write, how to launch."""
        for override in self.values:
            if override.key_or_group.startswith("hydra.") and not override.is_sweep_override():
                self.problems += hydra_problem(override, self.master)
        if found := targets.problems(self.master.hydra):
            raise UserError([*self.problems, *found])
        self.problems += self.output_problems()
        aim = OmegaConf.select(self.master, "hydra.sweeper.direction")
        if aim is not None and not str(aim).endswith("maximize"):
            line = f"hydra.sweeper.direction={aim}: looks for the worst arm; give maximize"
            cure = "hydra.sweeper.direction=maximize"
            self.problems.append(Problem(line, "hydra.sweeper.direction", cure=cure))
        for kind in ("launcher", "sweeper"):
            if not importable(str(self.master.hydra[kind].get("_target_", ""))):
                chosen = f"hydra/{kind}={self.master.hydra.runtime.choices[f'hydra/{kind}']}"
                line = f"{chosen} needs a plugin of Hydra: pip install 'rerankbench[launchers]'"
                self.problems.append(Problem(line, f"hydra/{kind}", "option", chosen))

    def output_problems(self) -> Iterable[Problem]:
        """Why Hydra could not make the folder in which results are written."""
        own, kind = self.master.hydra, "sweep" if self.multirun else "run"
        key = f"hydra.{kind}.dir"
        try:
            place = str(own[kind].dir or "")
            subdir = str(OmegaConf.to_container(own.sweep)["subdir"]) if self.multirun else "."  # type: ignore[index, call-overload]
        except OmegaConfBaseException as error:
            yield Problem(f"{key}: {complaints.one_line(error)}; give a folder", key)
            return
        if "dry_run=true" in self.typed:
            return
        if place.partition("/")[0] == "~":  # the shell expands it at the start of a word only
            cure = f"{key}={Path(place).expanduser()}"
            yield Problem(f"{key}={place}: ~ would be a folder of that name; give {cure}", key, cure=cure)
        elif place.strip() in ("", "None"):
            yield Problem(f"{key}={place}: give a folder for the results", key)
        elif problem := place_problem(Path(place).absolute() / "result.json"):
            yield Problem(f"{key}={place}: {problem}", key)
        if Path(subdir).is_absolute() or ".." in Path(subdir).parts:
            line = f"hydra.sweep.subdir={subdir}: leads out of hydra.sweep.dir; give a name"
            yield Problem(line, "hydra.sweep.subdir")


def chosen_options(override: Override) -> list[str]:
    """The options that a group's setting chooses."""
    if override.is_sweep_override():
        return [str(value).strip("'\"") for value in override.sweep_string_iterator()]
    return [complaints.shown(override.value())]


def hydra_problem(override: Override, master: DictConfig) -> list[Problem]:
    """Set one of Hydra's own values; what is wrong with it."""
    key, value = override.key_or_group, override.value()
    adds = override.is_add() or override.is_force_add()
    try:
        OmegaConf.update(master, key, value, force_add=adds)
    except (AttributeError, KeyError) as error:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(master, parent, throw_on_missing=False)
        if isinstance(node, DictConfig) and name not in node:
            return [complaints.unknown_key(f"{parent}.", name, value, [str(known) for known in node])]
        return [complaints.wrong_value(key, value, error)]
    except (OmegaConfBaseException, TypeError) as error:
        return [complaints.wrong_value(key, value, error)]
    return []


def has(made: DictConfig, key: str) -> bool:
    """Whether a config lists a key."""
    parent, _, name = key.rpartition(".")
    try:
        node = OmegaConf.select(made, parent) if parent else made
    except OmegaConfBaseException:
        return False
    return isinstance(node, DictConfig) and name in node._content  # type: ignore[operator]


def importable(target: str) -> bool:
    """Whether the module of a class is installed; nothing is run."""
    try:
        return importlib.util.find_spec(target.rpartition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
