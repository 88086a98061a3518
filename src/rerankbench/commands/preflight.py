"""Checks of a whole command, sweeps included, before anything is run: every mistake, once."""

from __future__ import annotations

import importlib.util
import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
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
from rerankbench.commands.config import RunSettings
from rerankbench.tracking.mlflow_store import place_problem

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError, OSError)
# What can be shown may be incomplete or impossible yet.
SHOWN = ("syntax", "option", "key", "type", "sweep")
# A model or data that cannot be read stops its own jobs and no others; and a setting may do nothing in some
# of the jobs.
SPARED = ("place", "idle")
CHOSEN = (*config.GROUPS, "experiment")
NAME = re.compile(r"[+~]*[\w./@:-]+")
Words = tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command that can be run: how many jobs it stands for, and whether it only asks for a forecast.

    `words`: its settings in Hydra's grammar; `swept`: the keys in which its jobs differ, and the values that
    are listed for them; `partial`: keys that some swept options lack, with these options. `checked`: what is
    known of each job, by its words: its settings, or why it will fail. Of jobs whose values a sweeper chooses
    as it goes, nothing is known.
    """

    jobs: int
    dry_run: bool
    multirun: bool
    words: Words
    swept: Mapping[str, Words]
    partial: partial_keys.Partial
    checked: Mapping[Words, RunSettings | UserError] = field(repr=False)


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


def experiment(arguments: Sequence[str]) -> RunSettings:
    """The settings of a command's first job. Raises UserError with every problem."""
    parsed = command_line.parse(arguments)
    with command_line.composing(parsed):
        found = next(iter(Checker(parsed).command().checked.values()))
    if isinstance(found, UserError):
        raise found
    return found


class Checker:
    """A command's settings and the jobs that come of them; made inside `composing`."""

    multirun = False

    def __init__(self, parsed: Namespace) -> None:
        self.typed: list[str] = list(parsed.overrides)
        self.name = parsed.config_name or "config"
        self.loader = hydra_private.config_loader()
        self.options_of = cache(self.loader.repository.get_group_options)
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.problems: list[Problem] = []
        self.composed: dict[Words, DictConfig] = {}
        self.cached = OmegaConf.create()  # what `now` gave to the first job, it gives to all
        self.given: dict[str, Override] = {}
        self.take([word for word in self.typed if self.is_option(word)])
        self.master = self.compose([o for o in self.given.values() if not o.is_sweep_override()])
        modes = [str(self.master.hydra.mode), *(w for w in self.typed if w.startswith("hydra.mode="))]
        self.multirun = bool(parsed.multirun) or modes[-1].endswith("MULTIRUN")
        # Hydra's own sweeper has all values listed; others choose them as they go.
        self.expands = str(self.master.hydra.runtime.choices["hydra/sweeper"]) == "basic"
        self.take([word for word in self.typed if not self.is_option(word)])

    # --- words ---

    def is_option(self, word: str) -> bool:
        """Whether a word, or a key, chooses options of a group."""
        group = word.partition("=")[0].lstrip("+~").partition("@")[0]
        return group in CHOSEN or (group.startswith("hydra/") and bool(self.options_of(group)))

    def take(self, words: Iterable[str]) -> None:
        """Read words as settings; why some are none, or impossible ones, is noted."""
        for word in words:
            try:
                self.given[word] = self.parsed(word)
                problems = list(self.wrong(self.given[word], word))
            except UserError as error:
                problems = error.typed
            if problems:
                self.given.pop(word, None)
                self.problems += problems

    def parsed(self, word: str) -> Override:
        """A word as Hydra reads it; the package's own keys need no `+`. Raises UserError."""
        key = re.split("[=@]", word.lstrip("+~"))[0]
        if word.startswith("~"):
            line = f"{word}: {key} cannot be taken away; give it a value, {key}=VALUE"
            raise UserError(Problem(line, key, "syntax", word))
        own = key.partition(".")[0] in (*CHOSEN, *config.ROOT_KEYS)
        plain = word.lstrip("+") if own else word
        text = as_typed.option(plain) if self.is_option(word) else as_typed.word(plain, self.multirun)
        try:
            (found,) = self.parser.parse_overrides([text])
        except (HydraException, ValueError):
            raise UserError(self.unreadable(word)) from None
        return found

    def wrong(self, found: Override, word: str) -> Iterator[Problem]:
        """Why a setting that can be read is an impossible one."""
        key, value, chooses = found.key_or_group, word.partition("=")[2], self.is_option(word)
        if too_many := sweep_size.problem([found]):
            yield Problem(too_many, key, "sweep", word)
        elif chooses and found.package is not None:
            line = f"{word}: options have no package here; write {key}={value}"
            yield Problem(line, key, "syntax", word, f"{key}={value}")
        elif chooses:
            swept = found.is_sweep_override()
            options = list(found.sweep_string_iterator()) if swept else [complaints.shown(found.value())]
            known = self.options_of(key)
            if not any(w.lstrip("+").startswith("hydra.searchpath=") for w in self.typed):  # it has more
                wrong = [one for one in (option.strip("'\"") for option in options) if one not in known]
                yield from (complaints.unknown_option(key, option, known) for option in wrong)
        elif found.package is not None or not key:
            yield self.unreadable(word)
        elif found.is_sweep_override():
            if not self.multirun:
                yield sweep_alone(word, key, as_typed.is_list(key) and "(" not in value)
            elif not found.is_discrete_sweep() and self.expands:
                line = f"{word}: intervals need a sweeper that chooses from them; give values: KEY=1,2,3"
                yield Problem(line, key, "sweep", word)
            elif key.startswith(tuple(f"hydra.{part}" for part in targets.BUILT)):
                yield Problem(f"{word}: cannot be swept; give one value", key, "sweep", word)

    def unreadable(self, word: str) -> Problem:
        """Why a word is no setting, and what was probably meant."""
        key, equals, value = word.partition("=")
        meant = [f"{group}={word}" for group in CHOSEN if word in self.options_of(group)]
        uneven = next((p for p in ("[]", "{}", "()") if value.count(p[0]) != value.count(p[1])), "")
        cure = ""
        if word == "help":
            return Problem(f"help: {command_line.HELP}", "", "syntax", word, "--help")
        if meant:
            line = f"{word}: this is not a setting; did you mean {' or '.join(meant)}?"
            return Problem(line, key, "syntax", word, meant[-1])
        if not NAME.fullmatch(key):
            said = f"{key or 'nothing'} cannot be the name of a setting; write KEY=VALUE without spaces"
            said = said if equals else "this is not a setting; write KEY=VALUE"
        elif not equals:
            said = f"a setting needs a value, {key.lstrip('+')}=VALUE"
        elif uneven:
            lacking = value.count(uneven[0]) - value.count(uneven[1])
            said, cure = f"the brackets {uneven} do not match", f"{word}{uneven[1] * lacking}" * (lacking > 0)
        else:
            better = {"(": f"[{value.strip('()')}]", "=": value.lstrip("=")}.get(value[:1])
            said, cure = "the value cannot be read", f"{key}={better}" if better else ""
            said += "" if cure else "; see --cfg job for how others look"
        said += f"; write {cure}" if cure else ""
        return Problem(f"{word}: {said}", key.lstrip("+"), "syntax", word, cure)

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
                raise UserError([*self.problems, composition.problem(error, self.loader)]) from None
            if made.get("experiment") is not None:
                file = f"experiment/{made.hydra.runtime.choices.get('experiment')}.yaml"
                line = f"{file}: its first line must be `# @package _global_`; without it its keys do nothing"
                raise UserError([*self.problems, Problem(line, "experiment")])
            found = [*targets.problems(made.hydra), *targets.command_problems(made.hydra)]
            if found := found or config_trust.problems(made, self.loader, conf_folder(), options, self.typed):
                raise UserError(found)
            self.composed[words] = made
        return self.composed[words]

    def read(self, job: Sequence[Override]) -> RunSettings | UserError:
        """A job's settings, from its config without Hydra's part, or why it has none."""
        try:
            made = self.compose([o for o in job if self.is_option(o.key_or_group)])
            labels = {str(group): str(choice) for group, choice in made.hydra.runtime.choices.items()}
            lacked = partial_keys.lacked(self.partial, labels)
            values = [o for o in job if not self.is_option(o.key_or_group) and o.key_or_group not in lacked]
            whole = OmegaConf.create({k: v for k, v in config_trust.written(made).items() if k != "hydra"})
            OmegaConf.copy_cache(from_config=self.cached, to_config=whole)
            self.cached = whole
            for o in values:
                if not o.is_hydra_override():
                    OmegaConf.update(whole, o.key_or_group, o.value(), force_add=True)
            return config.read(whole, labels, typed={o.key_or_group for o in values})
        except UserError as error:
            return UserError([self.located(problem, job) for problem in error.typed])

    def located(self, problem: Problem, job: Sequence[Override]) -> Problem:
        """A problem with the file that it comes from: the user's own, since the package's have none."""
        folder, typed = command_line.OwnOptions.folder, {o.key_or_group: o.value() for o in job}
        for group in (problem.key.partition(".")[0], "experiment"):
            own = folder is not None and (folder / group / f"{typed.get(group)}.yaml").is_file()
            if own and problem.kind in ("key", "type") and problem.key not in typed:
                return problem.saying(f"{group}/{typed[group]}.yaml: {problem}")
        return problem

    # --- jobs ---

    @cached_property
    def overrides(self) -> list[Override]:
        """What a preset sweeps over, and what the command line says, which wins."""
        preset = dict(OmegaConf.select(self.master, "hydra.sweeper.params") or {}) if self.multirun else {}
        try:
            swept = [self.parsed(f"{key}={value}") for key, value in preset.items()]
        except UserError as error:
            lines = [problem.saying(f"hydra.sweeper.params: {problem}") for problem in error.typed]
            raise UserError([*self.problems, *lines]) from None
        found = [*swept, *(self.given[word] for word in self.typed if word in self.given)]
        return list({o.get_key_element(): o for o in found}.values()) if self.multirun else found

    @cached_property
    def fixed(self) -> list[Override]:
        return [o for o in self.overrides if not o.is_sweep_override()]

    @cached_property
    def listed(self) -> dict[str, list[Override]]:
        """The values that a sweep lists, for each swept key."""
        swept = [o for o in self.overrides if o.is_sweep_override()]
        lists = [list(o.sweep_string_iterator()) if o.is_discrete_sweep() else [] for o in swept]
        lines = [
            [f"{o.get_key_element()}={one}" for one in some] for o, some in zip(swept, lists, strict=True)
        ]
        return dict(
            zip((o.key_or_group for o in swept), map(self.parser.parse_overrides, lines), strict=True)
        )

    @cached_property
    def partial(self) -> dict[str, Words]:
        """Keys that only some swept options of their group have, with the options that lack them."""
        found = {}
        for key in (o.key_or_group for o in self.overrides if self.multirun):
            group, _, name = key.partition(".")
            options = {str(o.value()): self.beside(o)[group] for o in self.listed.get(group, []) if name}
            lacking = tuple(
                one for one, node in options.items() if node._get_node(name.split(".")[0]) is None
            )
            if 0 < len(lacking) < len(options):
                found[key] = lacking
        return found

    def beside(self, option: Override) -> DictConfig:
        """What an option of a swept group makes with those that are not swept."""
        return self.compose([*(o for o in self.fixed if self.is_option(o.key_or_group)), option])

    @cached_property
    def jobs(self) -> list[list[Override]]:
        """The settings of every job; those of one job without a sweep, or where a sweeper chooses them."""
        if not self.multirun:
            return [self.fixed]
        trials = OmegaConf.select(self.master, "hydra.sweeper.n_trials")
        too_many = sweep_size.problem(self.overrides if self.expands else ())
        if trials is not None and not (isinstance(trials, int) and trials <= sweep_size.MOST_JOBS):
            too_many = f"hydra.sweeper.n_trials={trials}: at most {sweep_size.MOST_JOBS:,} are possible"
        if too_many:
            raise UserError([*self.problems, Problem(too_many, "", "sweep")])
        if not self.expands:
            swept = [o for some in self.listed.values() for o in some if self.is_option(o.key_or_group)]
            for option in swept:
                self.beside(option)  # for what it may not name
            return [self.fixed]
        if empty := [str(o.input_line) for o in self.overrides if self.listed.get(o.key_or_group) == []]:
            lines = [f"{line}: there is nothing to sweep over; give values: KEY=1,2,3" for line in empty]
            raise UserError([*self.problems, *(Problem(line, "", "sweep") for line in lines)])
        return [list(job) for job in product(*map(self.values, self.overrides))]

    def values(self, override: Override) -> list[Override]:
        """The settings that jobs may have of one, in the words that Hydra gives the job."""
        if override.is_sweep_override():
            return self.listed[override.key_or_group]
        line = f"{override.get_key_element()}={override.get_value_element_as_str()}"
        return self.parser.parse_overrides([line])

    # --- checks ---

    def command(self, shown: bool = False) -> Command:
        """The checked command; `shown`: its config is only shown, and may be incomplete or impossible yet.

        Raises UserError with all of its problems.
        """
        self.check_hydra()
        if not self.multirun:
            several = [o for o in self.given.values() if o.is_sweep_override()]
            self.problems += [sweep_alone(str(o.input_line), o.key_or_group) for o in several]
        outcomes = [self.read(job) for job in self.jobs]
        found = [one.typed if isinstance(one, UserError) else [] for one in outcomes]
        if stopping := self.stopping([[p for p in some if not shown or p.kind in SHOWN] for some in found]):
            self.problems += self.torn_texts() or stopping
        if self.problems:
            raise UserError(list(dict.fromkeys(self.problems)))
        dry_run = any(one.dry_run for one in outcomes if isinstance(one, RunSettings))
        names = [tuple(str(o.input_line) for o in job if not o.is_hydra_override()) for job in self.jobs]
        checked = dict(zip(names, outcomes, strict=True))
        words = tuple(str(o.input_line) for o in self.overrides)
        swept = {key: tuple(complaints.as_text(o.value()) for o in some) for key, some in self.listed.items()}
        return Command(len(self.jobs), dry_run, self.multirun, words, swept, self.partial, checked)

    def stopping(self, found: Sequence[Sequence[Problem]]) -> list[Problem]:
        """What of the problems of each job stops the command, with what the jobs share that have it."""
        stopping = []
        for problem in dict.fromkeys(one for problems in found for one in problems):
            jobs = [job for job, problems in zip(self.jobs, found, strict=True) if problem in problems]
            if len(jobs) == len(found):
                stopping.append(problem)
            elif all(found) or problem.kind not in SPARED:
                others = self.listed.keys() - {problem.key}
                told = [[str(o.input_line) for o in job if o.key_or_group in others] for job in jobs]
                shared = " ".join(word for word in told[0] if all(word in words for words in told))
                where = f" (in the job{'s with' if len(jobs) > 1 else ''} {shared})" if shared else ""
                stopping.append(problem.saying(f"{problem}{where}"))
        return stopping

    def torn_texts(self) -> list[Problem]:
        """Texts that a sweep took for several values because of their commas, and that work in quotes."""
        found = []
        for typed, override in self.given.items():
            name, _, value = typed.partition("=")
            if override.value_type is ValueType.SIMPLE_CHOICE_SWEEP and as_typed.is_text(name):
                cure = f"{name}={as_typed.quoted(value)}"
                (whole,) = self.parser.parse_overrides([cure])
                job = [whole if o.key_or_group == whole.key_or_group else o for o in self.jobs[0]]
                if isinstance(self.read(job), RunSettings):
                    word = shlex.quote(cure) if re.search(r'["$`\\!]', cure) else f'"{cure}"'
                    line = f"{typed}: -m takes commas for a sweep; to have one value, write {word}"
                    found.append(Problem(line, name, "sweep", typed, cure))
        return found

    def check_hydra(self) -> None:
        """Apply the settings that are Hydra's own: where to write, how to launch."""
        for o in self.given.values():
            if o.key_or_group.startswith("hydra.") and not o.is_sweep_override():
                try:
                    adds = o.is_add() or o.is_force_add()
                    OmegaConf.update(self.master, o.key_or_group, o.value(), force_add=adds)
                except (OmegaConfBaseException, TypeError) as error:
                    self.problems.append(composition.unfit(error, o.key_or_group, o.value()))
        if found := targets.problems(self.master.hydra):
            raise UserError([*self.problems, *found])
        self.problems += self.output_problems()
        aim = OmegaConf.select(self.master, "hydra.sweeper.direction")
        if aim is not None and not str(aim).endswith("maximize"):
            key, cure = "hydra.sweeper.direction", "hydra.sweeper.direction=maximize"
            self.problems.append(
                Problem(f"{key}={aim}: looks for the worst arm; give maximize", key, cure=cure)
            )
        for kind in ("launcher", "sweeper"):
            if not importable(str(self.master.hydra[kind].get("_target_", ""))):
                chosen = f"hydra/{kind}={self.master.hydra.runtime.choices[f'hydra/{kind}']}"
                line = f"{chosen} needs a plugin of Hydra: pip install 'rerankbench[launchers]'"
                self.problems.append(Problem(line, f"hydra/{kind}", "option", chosen))

    def output_problems(self) -> Iterator[Problem]:
        """Why Hydra could not make the folder in which results are written."""
        own, kind = self.master.hydra, "sweep" if self.multirun else "run"
        key = f"hydra.{kind}.dir"
        try:
            place = str(own[kind].dir or "")
        except OmegaConfBaseException as error:
            yield Problem(f"{key}: {complaints.one_line(error)}; give a folder", key)
            return
        if "dry_run=true" in self.typed:
            return
        cure = f"{key}={Path(place).expanduser()}" if place.partition("/")[0] == "~" else ""
        said = place_problem(Path(place).absolute() / "result.json")
        if place.strip() in ("", "None"):
            said = "give a folder for the results"
        if cure:  # the shell expands it at the start of a word only
            said = f"~ would be a folder of that name; give {cure}"
        if said:
            yield Problem(f"{key}={place}: {said}", key, cure=cure)
        subdir = str(targets.plain(own)["sweep"]["subdir"]) if self.multirun else "."
        if Path(subdir).is_absolute() or ".." in Path(subdir).parts:
            line = f"hydra.sweep.subdir={subdir}: leads out of hydra.sweep.dir; give a name"
            yield Problem(line, "hydra.sweep.subdir")


def sweep_alone(word: str, key: str, lists: bool = False) -> Problem:
    """Several values of a key in a command that runs one job; `lists`: the key holds a list."""
    brackets = f", or brackets for a list: {key}=[{word.partition('=')[2]}]" if lists else ""
    return Problem(f"{word}: several values need -m for a sweep{brackets}", key, "sweep", word, f"-m {word}")


def importable(target: str) -> bool:
    """Whether the module of a class is installed; nothing is run."""
    try:
        return importlib.util.find_spec(target.rpartition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
