"""deploy.yaml: one arm as it can be served, the figures that it was chosen for, and what these rest on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from rerankbench.basics.complaints import closest
from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked_tree
from rerankbench.basics.regular_file import read_regular
from rerankbench.basics.visible import visible
from rerankbench.engine.store.rows import write_atomic
from rerankbench.experiment.settings import Experiment
from rerankbench.report import document
from rerankbench.report.arms.arms import Arm
from rerankbench.report.arms.runs import CONFIG, Run
from rerankbench.report.arrangements import arrangement as arranging
from rerankbench.report.arrangements.arrangement import CASCADE
from rerankbench.report.arrangements.document import early_exit, fusion
from rerankbench.report.findings import Findings
from rerankbench.report.race.texts import experiment_of
from rerankbench.report.wording import first_of

log = logging.getLogger(__name__)

FILE, SCHEMA = "deploy.yaml", 1
MOST_BYTES, MOST_LEVELS, MOST_NAMES = 1_000_000, 20, 20
RECOMMENDED, CHOSEN, NAMED = "recommended", "to choose now", "named"
PLAIN = "plain"
MACHINE = ("device", "threads", "batch_size", "batch_tokens", "seed")
CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One reranker and how many candidates it orders; `hash` pins its weights, settings and arithmetic."""

    __pydantic_config__ = CLOSED

    reranker: str
    label: str = ""
    depth: int
    layer: int | None = None
    precision: str
    hash: str
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where candidates come from; `hash` pins the collection, the models and their settings."""

    __pydantic_config__ = CLOSED

    name: str
    candidates: int
    precision: str
    hash: str
    dataset: dict[str, Any]
    first_stage: dict[str, Any]
    embedder: dict[str, Any]
    index: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An arm, ready to be served by `rerankbench-serve`.

    `chosen`: RECOMMENDED by the verdict, CHOSEN to do with now, or NAMED by hand. `kind`, `fusion` and
    `early_exit` are those of report.json. `folder`: from where relative paths lead. `figures` are the arm's
    in report.json, `judgements` the collection and queries that they rest on, `measured_on` the machine.
    """

    __pydantic_config__ = CLOSED

    schema: int = SCHEMA
    arm: str
    chosen: str
    verdict: str = ""
    kind: str = PLAIN
    steps: list[Step]
    fusion: dict[str, Any] | None = None
    early_exit: dict[str, Any] | None = None
    first_stage: Stage
    machine: dict[str, int | str | None] = field(default_factory=dict)
    cache_dir: str
    folder: str
    figures: dict[str, Any] = field(default_factory=dict)
    judgements: dict[str, Any] = field(default_factory=dict)
    measured_on: dict[str, Any] = field(default_factory=dict)

    @property
    def how(self) -> dict[str, Any]:
        """How its steps follow one another, as a `Course` takes it."""
        mixed, left = self.fusion or {}, self.early_exit or {}
        kind = CASCADE if self.kind == PLAIN else self.kind
        fused = {name: mixed.get(name) for name in ("method", "weight")}
        return {"kind": kind, **fused, "gap": left.get("gap")}

    @property
    def needs_first_stage(self) -> bool:
        """Whether the first stage's scores decide, so that texts alone cannot be reranked."""
        mixed, left = self.fusion or {}, self.early_exit or {}
        return bool(mixed.get("with_first_stage")) or left.get("after_step") == 0

    def config(self, step: Step | None = None) -> dict[str, Any]:
        """The config of an experiment with one step's reranker; without one, of the first stage alone."""
        own, stage = step or self.first_stage, self.first_stage
        groups = {name: getattr(stage, name) for name in ("dataset", "first_stage", "embedder", "index")}
        reranker = step.settings if step else {"family": "none"}
        groups |= {"reranker": reranker, "executor": {"kind": "local"}}
        root = {"candidates": stage.candidates, "precision": own.precision, "cache_dir": self.cache_dir}
        return groups | root | dict(self.machine)

    def to_yaml(self) -> str:
        values = masked_tree(document.plain(asdict(self)))
        head = "# What rerankbench-serve serves. A model or collection with another hash is refused.\n"
        return head + yaml.safe_dump(values, sort_keys=False, width=110)


FORM = TypeAdapter(Deployment)


def read(file: Path) -> Deployment:
    """Raises UserError where it cannot be read, or is no deploy.yaml."""
    try:
        text = read_regular(file, MOST_BYTES).decode()
        refuse_intricate(file, text)
        found = FORM.validate_json(json.dumps(yaml.safe_load(text), default=str), strict=True)
    except ValidationError as error:
        raise UserError([unfit(file, each["loc"], each["msg"]) for each in error.errors()[:5]]) from None
    except OSError as error:
        why = f"cannot be read ({error.strerror}); give a sweep's folder"
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        why = f"is not YAML ({' '.join(str(error).split())[:200]}); write it again with rerankbench-report"
    else:
        if found.schema == SCHEMA:
            return found
        why = f"its schema is {found.schema}, not {SCHEMA}; write it again with rerankbench-report"
    raise UserError(f"{visible(file)}: {why}")


def refuse_intricate(file: Path, text: str) -> None:
    """Raise UserError for what would take long to read, and no deploy.yaml has."""
    level = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or level > MOST_LEVELS:
            what = "aliases (*name)" if level <= MOST_LEVELS else f"more than {MOST_LEVELS} levels"
            raise UserError(f"{visible(file)}: it has {what}, which no deploy.yaml has; write it again")


def unfit(file: Path, place: Sequence[int | str], why: str) -> str:
    where = ".".join(map(str, place))
    if not where:  # an empty file, a list, a text
        return visible(f"{file}: is not a deploy.yaml; write one with rerankbench-report FOLDER")
    return visible(f"{file}: {where}: {why}; write it again with rerankbench-report FOLDER")


def of(findings: Findings, name: str | None = None) -> Deployment | None:
    """The arm of that name; without one the recommended one, else the one to choose now. None: there is none.

    Raises UserError where there is no arm of that name, or its runs lack the config they were made with.
    """
    f = findings
    told = document.recommended(f)
    now = None if f.decision is None else f.contest.arms[f.decision.arm].name
    wanted = name or told or now
    if wanted is None:
        return None
    chosen = RECOMMENDED if wanted == told else CHOSEN if wanted == now else NAMED
    row = row_of(f, wanted)
    each = f.field.arrangement(row)
    return deployed(
        wanted,
        f.field.steps(row),
        chosen=chosen,
        verdict=f.verdict.sentence if chosen == RECOMMENDED else f.decision.sentence if f.decision else "",
        kind=each.kind if each else PLAIN,
        fusion=fusion(each) if each else None,
        early_exit=early_exit(each) if each else None,
        figures=figures(f, wanted),
        judgements={**f.dataset, "reduced": f.reduced, "judged_queries": len(f.contest.query_ids)},
    )


def deployed(name: str, arms: Sequence[Arm], **told: Any) -> Deployment:
    """Arms one behind the other, as their runs were made; candidates come from where the first has them.

    Raises UserError where a run lacks the config it was made with.
    """
    stage = arms[0]
    first = loaded(stage)
    return Deployment(
        arm=name,
        steps=[step(arm) for arm in arms if arm.reranks],
        first_stage=first_stage(stage, first),
        machine={key: getattr(first, key) for key in MACHINE},
        cache_dir=str(first.cache_dir),
        folder=str(stage.run.command_folder.absolute()),
        measured_on=dict(stage.run.result.get("environment", {})),
        **told,
    )


def names(findings: Findings) -> list[str]:
    """Of all arms: the plain ones, then the arrangements."""
    return [findings.field.name(row) for row in range(len(findings.field))]


def some_names(findings: Findings) -> str:
    return first_of(names(findings), MOST_NAMES)


def row_of(findings: Findings, name: str) -> int:
    return place_of(name, names(findings))


def place_of(name: str, known: Sequence[str]) -> int:
    """Where an arm's name stands. Raises UserError with those that there are."""
    if name not in known:
        meant = closest(name, known)
        hint = f"did you mean '{meant}'? " if meant else ""
        has = f"{hint}it has {first_of(known, MOST_NAMES)}"
        raise UserError(f"--arm {visible(name)}: the report has no such arm; {has}")
    return known.index(name)


def step(arm: Arm) -> Step:
    experiment, result = loaded(arm), arm.run.result
    return Step(
        reranker=arranging.reranker_name(arm),
        label=str(result.get("model", {}).get("label", "")),
        depth=arm.depth,
        layer=arm.layer,
        precision=precision(arm.run, experiment),
        hash=arm.reranker,
        settings={"family": experiment.reranker.family, **document.plain(experiment.reranker)},
    )


def first_stage(arm: Arm, experiment: Experiment) -> Stage:
    e = experiment
    return Stage(
        name=arm.stage_name,
        candidates=e.candidates,
        precision=precision(arm.run, e),
        hash=arm.stage,
        dataset={"kind": e.dataset.kind, **document.plain(e.dataset)},
        first_stage={"kind": e.first_stage.kind, **document.plain(e.first_stage)},
        embedder=document.plain(e.embedder),
        index=document.plain(e.index),
    )


def precision(run: Run, experiment: Experiment) -> str:
    """What was computed in: `auto` may be another one on the next machine."""
    return str(run.result.get("environment", {}).get("precision") or experiment.precision)


def loaded(arm: Arm) -> Experiment:
    """The settings that a run was made with. Raises UserError where its folder does not have them."""
    if not arm.run.config.is_file():
        raise UserError(f"{arm.run.place}: has no {CONFIG}, by which {arm.name} could be loaded again")
    return experiment_of(arm.run)


def figures(findings: Findings, name: str) -> dict[str, Any]:
    """What the report says of an arm: its measure, its gain, what it costs."""
    f = findings
    known = (*(document.arm(f, i) for i in range(len(f.contest.arms))), *f.arranged_arms)
    found = next(each for each in known if each["name"] == name)
    kept = ("measures", "mean", "against_first_stage", "against_best", "as_good_as_the_best", "cost")
    return {"measure": f.contest.measure} | {key: document.plain(found.get(key)) for key in kept}


def write(folder: Path, make: Callable[[], Deployment | None]) -> Deployment | None:
    """Write the file and return what it says; where nothing can be deployed, take an earlier one away."""
    try:
        found = make()
    except UserError as error:
        log.warning("no %s: %s", FILE, "; ".join(error.problems))
        found = None
    if found is None:
        (folder / FILE).unlink(missing_ok=True)
        return None
    write_atomic(folder / FILE, found.to_yaml().encode())
    return found
