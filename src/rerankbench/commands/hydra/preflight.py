"""Checks of a whole command, sweeps included, before anything is run: every mistake, once."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rerankbench.basics import complaints
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands.hydra import (
    as_typed,
    command_line,
    config,
    config_trust,
    hydra_private,
    hydra_section,
    hydra_settings,
    partial_keys,
)
from rerankbench.commands.hydra.as_typed import MOST_JOBS, count, is_option, values
from rerankbench.commands.hydra.config import RunSettings
from rerankbench.commands.hydra.key_types import is_list, is_text

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError, OSError)
# What can be shown may be incomplete or impossible yet.
SHOWN = ("syntax", "option", "key", "type", "sweep")
# A model or data that cannot be read stops its own jobs and no others; and a setting may do nothing in some
# of the jobs.
SPARED = ("place", "idle")
Words = tuple[str, ...]


def check(arguments: Sequence[str]) -> Command | None:
    """What a command stands for; None where it only asks for help or shows a config.

    Raises UserError with every problem of its configs. Jobs of a sweep whose model or data cannot be read
    are left to fail on their own, unless no job could run.
    """
    parsed = command_line.parse(arguments)
    if command_line.shows(parsed):
        return None
    with command_line.composing(parsed):
        return Command(parsed)


def experiment(arguments: Sequence[str]) -> RunSettings:
    """The settings of a command's first job. Raises UserError with every problem."""
    parsed = command_line.parse(arguments)
    with command_line.composing(parsed):
        found = next(iter(Command(parsed).checked.values()))
    if isinstance(found, UserError):
        raise found
    return found


class Command:
    """A command that can be run, checked as it is made inside `composing`.

    multirun: whether it is a sweep; dry_run: whether it only asks for a forecast. words: its settings in
    Hydra's grammar. swept: the keys in which its jobs differ, and the values that are listed for them;
    partial: keys that some swept options lack, with these options. jobs: how many there are; checked: what is
    known of each by its words: its settings, or why it will fail; nothing where a sweeper chooses the values.
    """

    def __init__(self, parsed: Namespace, shown: bool = False) -> None:
        """Raises UserError with every problem; `shown`: it is only shown, and may be impossible to run."""
        self.problems: list[Problem] = []  # so far; what leaves nothing to go on with is raised
        self.composed: dict[Words, DictConfig] = {}
        self.multirun = False
        self.cached = OmegaConf.create()  # what `now` gave to the first job, it gives to all
        self.loader = hydra_private.config_loader()
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.typed, self.name = list(parsed.overrides), parsed.config_name or "config"
        try:
            self.read_words(parsed.multirun)
            self.list_jobs()
            self.check_jobs(shown)
        except UserError as error:
            self.problems += error.typed
        if self.problems:
            raise UserError(list(dict.fromkeys(self.problems)))

    # --- settings ---

    def read_words(self, multirun: bool) -> None:
        """The settings that are typed, Hydra's own first, and those that a preset sweeps over."""
        first = [word for word in self.typed if is_option(word) or word.lstrip("+").startswith("hydra.")]
        given = self.take(first)
        master = self.compose(o for o in given.values() if not o.is_sweep_override())
        self.fill(master, (o for o in given.values() if not is_option(o.key_or_group)))
        if found := list(hydra_section.mistakes(master.hydra)):
            raise UserError(found)
        self.multirun = multirun or master.hydra.mode == RunMode.MULTIRUN
        # Hydra's own sweeper has all values listed; others choose them as they go.
        self.expands = self.multirun and master.hydra.runtime.choices["hydra/sweeper"] == "basic"
        part, writes = "sweep" if self.multirun else "run", "dry_run=true" not in self.typed
        self.problems += hydra_settings.problems(master.hydra, part, writes)
        given |= self.take(word for word in self.typed if word not in first)
        preset = (master.hydra.sweeper.get("params") or {}) if self.multirun else {}
        swept = self.take((f"{key}={value}" for key, value in preset.items()), "hydra.sweeper.params: ")
        both = [*swept.values(), *(given[word] for word in self.typed if word in given)]
        self.overrides = list({o.get_key_element(): o for o in both}.values()) if self.multirun else both
        self.fixed = [o for o in self.overrides if not o.is_sweep_override()]

    def take(self, words: Iterable[str], where: str = "") -> dict[str, Override]:
        """Words as settings; why some are none, or choose options that are not there, is noted."""
        taken = {}
        for word in words:
            try:
                o = as_typed.setting(word, self.parser, self.multirun)
                if wrong := self.unknown_options(o):
                    raise UserError(wrong)
                taken[word] = o
            except UserError as error:
                self.problems += [problem.saying(f"{where}{problem}") for problem in error.typed]
        return taken

    def unknown_options(self, o: Override) -> list[Problem]:
        """Options that are not there; those of a `hydra.searchpath` are known to Hydra alone."""
        key, chosen = o.key_or_group, [value.strip("'\"") for value in values(o)]
        known = self.loader.repository.get_group_options(key) if is_option(key) else []
        if len(chosen) > MOST_JOBS or not known or "hydra.searchpath=" in str(self.typed):
            return []
        return [complaints.unknown_option(key, option, known) for option in chosen if option not in known]

    def fill(self, config: DictConfig, settings: Iterable[Override]) -> None:
        """Put values into a config; those that it does not take are noted."""
        for o in (o for o in settings if not o.is_sweep_override()):
            try:
                OmegaConf.update(config, o.key_or_group, o.value(), force_add=o.is_add() or o.is_force_add())
            except (*CONFIG_ERRORS, TypeError) as error:
                self.problems.append(complaints.explained(error, o.key_or_group, o.value()))

    # --- jobs ---

    def list_jobs(self) -> None:
        """The settings of every job, as far as they are listed; what makes no sweep is noted."""
        counts = {o.key_or_group: count(o) for o in self.overrides}
        jobs, most = math.prod(counts.values()), max(counts.values(), default=0)
        if max(jobs if self.expands else 0, most) > MOST_JOBS:
            swept = " × ".join(f"{many:,} of {key}" for key, many in counts.items() if many > 1)
            total = f"{jobs:,}" if jobs < math.inf else "infinitely many"
            line = (
                f"the sweep has {total} jobs ({swept}), at most {MOST_JOBS:,} are possible: give fewer values"
            )
            raise UserError([Problem(line, "", "sweep")])
        self.problems += self.sweep_problems(counts)
        words = [[f"{o.get_key_element()}={value}" for value in values(o)] for o in self.overrides]
        lists = list(map(self.parser.parse_overrides, words))  # as Hydra gives them to the jobs
        both = zip(self.overrides, lists, strict=True)
        self.listed = {o.key_or_group: listed for o, listed in both if o.is_sweep_override()}
        self.settings = list(product(*lists)) if self.expands else [tuple(self.fixed)]
        for option in (o for listed in self.listed.values() for o in listed if not self.expands):
            self.beside(option)  # for what it may not name

    def sweep_problems(self, counts: Mapping[str, float]) -> Iterator[Problem]:
        """Why settings of several values make no sweep."""
        for o in (o for o in self.overrides if o.is_sweep_override()):
            word, key = str(o.input_line), o.key_or_group
            if not self.multirun:
                simple = o.value_type is ValueType.SIMPLE_CHOICE_SWEEP and is_list(key)
                note = f", or brackets for a list: {key}=[{word.partition('=')[2]}]" if simple else ""
                line = f"{word}: several values need -m for a sweep{note}"
                yield Problem(line, key, "sweep", word, f"-m {word}")
            elif o.is_hydra_override():
                yield Problem(f"{word}: cannot be swept; give one value", key, "sweep", word)
            elif self.expands and not counts[key]:
                line = f"{word}: lists no values to sweep over; give some, {key}=A,B"
                yield Problem(line, key, "sweep", word)

    def check_jobs(self, shown: bool) -> None:
        """What is known of each job; what stops the command is noted."""
        outcomes = [self.read(job) for job in self.settings]
        found = [one.typed if isinstance(one, UserError) else [] for one in outcomes]
        self.problems += self.stopping([[p for p in some if not shown or p.kind in SHOWN] for some in found])
        names = [tuple(str(o.input_line) for o in job if not o.is_hydra_override()) for job in self.settings]
        self.checked = dict(zip(names, outcomes, strict=True))
        self.jobs = len(outcomes)
        self.dry_run = any(one.dry_run for one in outcomes if isinstance(one, RunSettings))
        self.words = tuple(str(o.input_line) for o in self.overrides)
        self.swept = {
            key: tuple(complaints.as_text(o.value()) for o in some) for key, some in self.listed.items()
        }

    def read(self, job: Sequence[Override]) -> RunSettings | UserError:
        """A job's settings, from its config without Hydra's part, or why it has none."""
        try:
            made = self.compose(job)
            labels = {str(group): str(choice) for group, choice in made.hydra.runtime.choices.items()}
            lacked = partial_keys.lacked(self.partial, labels)
        except UserError as error:
            return error
        own = [o for o in job if not (is_option(o.key_or_group) or o.is_hydra_override())]
        own = [o for o in own if o.key_or_group not in lacked]
        whole = OmegaConf.create({k: v for k, v in hydra_section.written(made).items() if k != "hydra"})
        OmegaConf.copy_cache(from_config=self.cached, to_config=whole)
        self.cached = whole
        self.fill(whole, own)
        typed = {o.key_or_group for o in own}
        try:
            return config.read(whole, labels, typed)
        except UserError as error:
            return UserError([located(problem, labels, typed) for problem in error.typed])

    def stopping(self, found: Sequence[Sequence[Problem]]) -> Iterator[Problem]:
        """What of the problems of each job stops the command, with what the jobs share that have it."""
        whole = self.whole_texts()
        for problem in dict.fromkeys(one for problems in found for one in problems):
            jobs = [job for job, problems in zip(self.settings, found, strict=True) if problem in problems]
            if len(jobs) == len(found):
                yield problem
            elif all(found) or problem.kind not in SPARED:
                others, cure = self.listed.keys() - {problem.key}, whole.get(problem.key.partition(".")[0])
                note = f"; a text with commas needs quotes in a sweep: {cure}" if cure else ""
                told = [[str(o.input_line) for o in job if o.key_or_group in others] for job in jobs]
                shared = " ".join(word for word in told[0] if all(word in words for words in told))
                where = f" (in the job{'s with' if len(jobs) > 1 else ''} {shared})" if shared else ""
                yield problem.saying(f"{problem}{where}{note}")

    def whole_texts(self) -> dict[str, str]:
        """By group, what to type for a text that the sweep has torn at its commas."""
        torn = {o.key_or_group for o in self.overrides if o.value_type is ValueType.SIMPLE_CHOICE_SWEEP}
        typed = [word.lstrip("+").partition("=") for word in self.typed]
        return {
            key.partition(".")[0]: as_typed.in_shell(f"{key}={as_typed.quoted(value)}")
            for key, _, value in typed
            if key in torn and is_text(key)
        }

    # --- configs ---

    def compose(self, settings: Iterable[Override]) -> DictConfig:
        """What the options among some settings make, before any value is set; composed once.

        Raises UserError where Hydra cannot compose it, or would build of it what a config may not name.
        """
        options = [o for o in settings if is_option(o.key_or_group)]
        words = tuple(str(o.input_line) for o in options)
        if words in self.composed:
            return self.composed[words]
        try:
            made = config_trust.load(self.loader, conf_folder(), self.name, list(words))
        except CONFIG_ERRORS as error:
            raise UserError([complaints.uncomposed(error, self.loader.get_group_options)]) from None
        if made.get("experiment") is not None:
            file = f"experiment/{made.hydra.runtime.choices.get('experiment')}.yaml"
            line = f"{file}: its first line must be `# @package _global_`; without it its keys do nothing"
            raise UserError([Problem(line, "experiment")])
        if found := config_trust.problems(made, self.loader, conf_folder(), options, self.typed):
            raise UserError(found)
        self.composed[words] = made
        return made

    def beside(self, option: Override) -> DictConfig:
        """What an option of a swept group makes with those that are not swept."""
        return self.compose([*self.fixed, option])

    @cached_property
    def partial(self) -> dict[str, Words]:
        """Keys that only some swept options of their group have, with the options that lack them."""
        found = {}
        for key in (o.key_or_group for o in self.overrides if self.multirun):
            group, _, name = key.partition(".")
            options = {str(o.value()): self.beside(o)[group] for o in self.listed.get(group, []) if name}
            lacking = [one for one, node in options.items() if node._get_node(name.split(".")[0]) is None]
            if 0 < len(lacking) < len(options):
                found[key] = tuple(lacking)
        return found


def located(problem: Problem, labels: Mapping[str, str], typed: Collection[str]) -> Problem:
    """A problem with the file that it comes from: one's own, since the package's have none."""
    folder, group = command_line.OwnOptions.folder, problem.key.partition(".")[0]
    files = [f"{group}/{labels.get(group)}.yaml" for group in (group, "experiment")]
    own = [file for file in files if folder and (folder / file).is_file()]
    from_file = own and problem.kind in ("key", "type") and problem.key not in typed
    return problem.saying(f"{own[0]}: {problem}") if from_file else problem
