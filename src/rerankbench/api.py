"""rerankbench for notebooks: load, retrieve, score, evaluate, compare; thin functions over the core.

Everything works without Hydra and MLflow. Options that have a name on the command line (`minilm`, `bge-m3`,
`flat`) have the same name and the same settings here: they are read from the shipped YAML files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from rerankbench.basics import installed
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.basics.typed_settings import convert
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading.hub_access import is_local
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.collections.sources.source import Source
from rerankbench.engine import hardware
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.models import computed_by, references
from rerankbench.engine.run_context import RunContext
from rerankbench.engine.store.rows import identity
from rerankbench.evaluation import ranking, significance
from rerankbench.evaluation.evaluation import Judge, Measured, whole
from rerankbench.experiment.groups import GROUPS
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.index import Index
from rerankbench.first_stages.search_context import SearchContext
from rerankbench.rerankers import reranker as families
from rerankbench.rerankers.function import PLACE, Function, Given
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.direct import score_texts
from rerankbench.rerankers.scoring.pair_scoring import Work, distinct_pairs, parts_of, score_store
from rerankbench.rerankers.scoring.text_scoring import TextWork, score_directly
from rerankbench.rerankers.scoring.text_scoring import score as score_work
from rerankbench.rerankers.scoring.vector_scoring import VectorWork
from rerankbench.rerankers.vector_reranker import VectorReranker, VectorScorer

__all__ = [
    "Candidates",
    "Collection",
    "Comparison",
    "Measured",
    "Ranked",
    "Reranker",
    "collection_of",
    "compare",
    "evaluate",
    "load_collection",
    "load_reranker",
    "retrieve",
    "score",
]

T = TypeVar("T")

UNJUDGED = (
    "measure: the collection has no judgements, so nothing is measured; "
    "differences(collection, candidates, {name: scores}) says how much arms differ"
)
_TOLD = 80  # characters of what was given for a name
_SCHEMA = re.compile(r"/schema/\w+/([\w-]+)@_here_")


class Ranked(NamedTuple):
    """One text of a ranked list: its position (from 0) in the list that was given, its score, the text."""

    position: int
    score: float
    text: str


@dataclass(frozen=True, repr=False)
class Reranker:
    """A reranker that is ready to score; its weights are loaded when the first score is asked for.

    `settings` are those of the command line's `reranker.*`.
    """

    settings: families.Reranker
    origin: families.Origin | references.Weights
    hardware: hardware.Hardware

    def __repr__(self) -> str:
        return f"<Reranker {self.name}, {self.hardware.precision} on {self.hardware.device}>"

    @property
    def name(self) -> str:
        """What people should see."""
        return self.origin.label

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that score in one pass, ascending: the columns of `score`."""
        return self.settings.layers(self.origin)

    @cached_property
    def model(self) -> families.PairModel | Scorer:
        return self.settings.load(self.origin, self.hardware)

    def score(self, query: str, texts: Iterable[str]) -> NDArray[np.float32]:
        """Scores [texts, layers] of each text for the query, higher is better; nothing is stored.

        Texts that are the same tokens to the model, as far as it reads them, have the same score to the
        last bit. Most models have one layer, so that `score(...)[:, -1]` is what to sort by. Raises UserError
        for what is no text, and when memory does not suffice for a single one.
        """
        from rerankbench.engine.loop import Budget, Loop

        texts = _texts(query, texts)
        if not texts:
            return np.empty((0, len(self.layers)), np.float32)
        if isinstance(self.model, Scorer):
            return score_directly(self.model, [query] * len(texts), texts, self.name)
        budget = Budget(512, self.hardware.batch_tokens, self.model.enough)
        loop = Loop(self.model.forward, self.hardware, budget, streams=self.hardware.streams)
        return score_texts(self.model, query, texts, loop)

    def rank(self, query: str, texts: Iterable[str]) -> list[Ranked]:
        """The texts best first, by the last layer; equal scores keep the order given. Raises as `score`."""
        texts = _texts(query, texts)
        scores = self.score(query, texts)[:, -1]
        order = np.argsort(-scores, kind="stable")
        return [Ranked(int(i), float(scores[i]), texts[i]) for i in order]


@dataclass(frozen=True)
class Comparison:
    """Two arms over the same queries: `difference` is the second minus the first.

    `interval` is the 95% bootstrap interval of the mean difference (of fewer than six queries, bounds that
    allow for what none of them shows), `p_value` that of a two-sided paired randomisation test: it asks
    whether gains and losses are alike, ignores losses that no query shows, and is of one comparison (several
    need `significance.holm`). A report's claims ask for more. helped + hurt + unchanged = queries.
    """

    measure: str
    first: float
    second: float
    interval: tuple[float, float]
    p_value: float
    helped: int
    hurt: int
    unchanged: int

    @property
    def difference(self) -> float:
        return self.second - self.first

    def __str__(self) -> str:
        from rerankbench.evaluation.measures import display_name

        low, high = self.interval
        return (
            f"{display_name(self.measure)} {self.first:.4f} -> {self.second:.4f}: {self.difference:+.4f} "
            f"[{low:+.4f}, {high:+.4f}], p = {self.p_value:.4f}; "
            f"{self.helped} helped, {self.hurt} hurt, {self.unchanged} unchanged"
        )


@dataclass(frozen=True)
class _Held:
    """Of work for a reranker that the caller holds, so that its weights are not loaded twice."""

    by: Reranker | None = None

    @cached_property
    def loaded(self) -> tuple[Any, float]:
        assert self.by is not None
        return self.by.model, 0.0


@dataclass(frozen=True)
class _Loaded(_Held, Work):
    """Work for a model of token pairs."""


@dataclass(frozen=True)
class _LoadedTexts(_Held, TextWork):
    """The same for a scorer."""


@dataclass(frozen=True)
class _LoadedVectors(VectorWork):
    """The same for an embedder."""

    by: Reranker | None = None

    @cached_property
    def embedding(self) -> Embedding:
        found = self.reranker.embedding(self.origin, self.context)
        if self.by is not None and "model" in vars(self.by):
            found.take_over(cast(VectorScorer, self.by.model).documents.embedding)
        return found


def load_collection(kind_or_folder: str | Path = "sample", **settings: Any) -> Collection:
    """A collection: a folder in BEIR's layout, `load_collection("/data/scifact")`, or a kind with its keys.

    Kinds and keys are those of `dataset=` and `dataset.*`: `load_collection("files", corpus=..., queries=...,
    qrels=...)`, `load_collection("hub", path="mteb/scifact")`. `cache_dir=` says where large ones are kept.
    Raises UserError with every mistake of the settings or the files.
    """
    cache_dir = _cache_dir(settings.pop("cache_dir", None))
    kind = str(kind_or_folder)
    if kind not in GROUPS["dataset"].kinds:
        kind, settings = "beir", {"path": kind, **settings}
        if not Path(settings["path"]).expanduser().is_dir():
            raise UserError(f"collection {_told(kind_or_folder)}: {_no_collection(Path(settings['path']))}")
    return cast(Source, _settings("dataset", kind, settings)).load(cache_dir)


def _no_collection(path: Path) -> str:
    """Why a place is no collection in BEIR's layout, and what may have been meant."""
    if path.expanduser().is_file():
        one = f'load_collection("one_file", path={str(path)!r})'
        return f"is a file; give its folder, a whole collection in it as {one}, or documents by collection_of"
    known = ", ".join(GROUPS["dataset"].kinds)
    of_hub = "/" in str(path) and not is_local(str(path))
    cure = f'; if it is one of the hub: load_collection("hub", path={str(path)!r})' if of_hub else ""
    return f"there is no such folder, nor a kind of collection; kinds: {known}{cure}"


def _told(given: object) -> str:
    """Whatever was given for a name, on one line."""
    return " ".join(str(given).split())[:_TOLD]


def load_reranker(
    name_or_model: str | Path | Callable[[str, Sequence[str]], Any] = "minilm",
    *,
    family: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache_dir: str | Path | None = None,
    **settings: Any,
) -> Reranker:
    """A reranker by its option's name (`minilm`, `base`, ...), or a folder or hub id with its family.

    family: encoder, causal, seq2seq, llm, layerwise, lightweight, onnx, bi-encoder, m3 or late-interaction;
    an option brings its own. settings: the keys of `reranker.*`, such as max_length=256. Raises UserError for
    whatever cannot be, before loading.

    Or by a function of a query and its texts, itself or as "module:function", which returns one number for
    each text, the higher the better. `name=` and `version=` identify it: change the version when its scores
    change. Without both of them none of its scores is kept.
    """
    if callable(name_or_model) or _is_function(name_or_model):
        return _of_function(name_or_model, settings, _machine(device, precision))
    chosen, kind = _option("reranker", str(name_or_model))
    if chosen is None:
        if family is None:
            raise UserError(f"reranker {name_or_model}: give family= with a model; one of {_families()}")
        chosen, kind = {"model": str(name_or_model)}, family
    if kind == "none":
        measure = "evaluate(collection, candidates) measures it"
        raise UserError(f"reranker none: there is nothing to load; {measure}")
    read = cast(families.Reranker, _settings("reranker", family or kind, chosen | settings))
    machine = _machine(device, precision)
    read, origin = read.resolved(_cache_dir(cache_dir))
    if not computed_by.stored(_cache_dir(cache_dir) / "scores" / identity(parts_of(read, origin, machine))):
        read.rehearse(origin, machine)
    return Reranker(read, origin, machine)


def retrieve(
    collection: Collection,
    first_stage: str | Path = "dense",
    *,
    candidates: int = 100,
    embedder: str | Path = "minilm",
    index: str = "flat",
    device: str = "auto",
    precision: str = "auto",
    cache_dir: str | Path | None = None,
    **settings: Any,
) -> Candidates:
    """The best `candidates` documents of each query: by dense, bm25, hybrid, or from a run file by its path.

    embedder: an option's name, or a folder or hub id. settings: the keys of `first_stage.*`, such as
    language="german". Found candidates are stored and reused as in a run. Raises UserError.
    """
    _refuse_below(1, candidates=candidates)
    kind = str(first_stage)
    if kind not in GROUPS["first_stage"].kinds:
        kind, settings = "run", {"path": kind, **settings}
        if not Path(settings["path"]).expanduser().is_file():
            known = ", ".join(GROUPS["first_stage"].kinds)
            what = f"there is no such file, nor a first stage; choose one of {known}"
            raise UserError(f"first_stage {_told(first_stage)}: {what}")
    stage = cast(FirstStage, _settings("first_stage", kind, settings))
    read, indexed = _embedding(str(embedder), index) if stage.embeds() else (Embedder(), Index())
    machine, place = _machine(device, precision), _cache_dir(cache_dir)
    context = SearchContext(machine, place, embedder=read, index=indexed)
    return stage.retrieve(collection, candidates, context)[0]


def score(
    collection: Collection,
    candidates: Candidates,
    reranker: Reranker,
    *,
    depth: int | None = None,
    reuse: bool = True,
    cache_dir: str | Path | None = None,
) -> NDArray[np.float32]:
    """Scores [queries, depth, layers] of the first `depth` candidates of each query (None: all); NaN padding.

    Pairs that were scored before, here or by a run, are read from the store; reuse=False computes them again.
    Raises UserError, or ValueError for candidates of another collection.
    """
    from rerankbench.engine.executors.local import Local

    _refuse_below(0, depth=depth)
    _refuse_foreign(collection, candidates)
    context = RunContext(reranker.hardware, _cache_dir(cache_dir), reuse=reuse)
    store = score_store(reranker.settings, reranker.origin, context)
    pairs = distinct_pairs(collection, candidates.rows[:, :depth])
    of: Any = _LoadedVectors if isinstance(reranker.settings, VectorReranker) else _LoadedTexts
    of = _Loaded if isinstance(reranker.settings, families.LocalReranker) else of
    parts = (reranker.settings, reranker.origin, reranker.layers, context, collection, pairs, store)
    work = of(*parts, by=reranker)
    return pairs.spread(score_work(work, Local()).values)


def evaluate(
    collection: Collection,
    candidates: Candidates,
    scores: NDArray[np.float32] | None = None,
    *,
    depth: int | None = None,
    layer: int = -1,
    cutoffs: Sequence[int] = (1, 10, 100),
) -> Measured:
    """One order of the candidates, measured as trec_eval does: `.mean()` and `.per_query`, by `ndcg_at_10`.

    scores: [queries, depth, layers] from `score`; None measures the first stage. depth: how many candidates
    they rerank (None: all scored); the others stay below. layer: which column of the last axis. Raises
    ValueError for candidates or scores of something else.
    """
    found, deepest = order(collection, candidates, scores, depth=depth, layer=layer)
    stage, column = ("first_stage", None) if scores is None else ("reranked", layer)
    return Judge(collection, candidates, sorted(set(cutoffs)))(stage, column, deepest, found)


def order(
    collection: Collection,
    candidates: Candidates,
    scores: NDArray[np.float32] | None,
    *,
    depth: int | None = None,
    layer: int = -1,
) -> tuple[ranking.Order, int]:
    """Positions [queries, candidates] of the candidates best first, and the depth to which they are reranked.

    Arguments and errors are those of `evaluate`.
    """
    _refuse_below(0, depth=depth)
    _refuse_foreign(collection, candidates)
    if scores is None:
        return ranking.first_stage(candidates.rows.shape), 0
    if scores.ndim != 3 or len(scores) != len(candidates.rows) or scores.shape[1] > candidates.rows.shape[1]:
        raise ValueError(f"scores {scores.shape} are not [queries, depth, layers] of {candidates.rows.shape}")
    deepest = scores.shape[1] if depth is None else min(depth, scores.shape[1])
    return ranking.rerank(whole(scores[:, :, layer], candidates), deepest), deepest


def compare(first: Measured, second: Measured, measure: str = "ndcg_at_10", *, seed: int = 0) -> Comparison:
    """Is `second` better than `first`? Both measured on the same collection.

    Raises UserError where nobody has judged it (`differences` needs no judgements), or for a measure that was
    not computed, ValueError for arms of different collections.
    """
    if not (first.per_query and second.per_query):
        raise UserError(UNJUDGED)
    missing = [measure for arm in (first, second) if measure not in arm.per_query]
    if missing:
        raise UserError(f"measure {measure}: not computed; there are {', '.join(first.per_query)}")
    before, after = first.per_query[measure], second.per_query[measure]
    if len(before) != len(after):
        counts = f"{len(before)} and {len(after)} queries"
        raise ValueError(f"the arms have {counts}: they are of different collections")
    if list(first.query_ids) != list(second.query_ids):
        raise ValueError(
            "the arms answer other queries, or in another order: they are of different collections"
        )
    differences = after - before
    interval = significance.difference_interval(differences, seed=seed)
    return Comparison(
        measure,
        float(before.mean()),
        float(after.mean()),
        (interval.low, interval.high),
        significance.randomisation_test(differences, seed=seed),
        *significance.wins(differences),
    )


def _families() -> str:
    """The families of models on this machine."""
    own = (families.LocalReranker, VectorReranker)
    classes = GROUPS["reranker"].classes.items()
    return ", ".join(sorted(kind for kind, cls in classes if kind != "none" and issubclass(cls, own)))


def _is_function(place: str | Path) -> bool:
    """Whether this is MODULE:NAME, and no wheel:NAME and no path."""
    text = str(place)
    named = PLACE.fullmatch(text) and not text.startswith(references.WHEEL_PREFIX)
    return bool(named) and not Path(text).exists()


def _of_function(
    function: str | Path | Callable[[str, Sequence[str]], Any],
    settings: dict[str, Any],
    machine: hardware.Hardware,
) -> Reranker:
    named = "python:function" if callable(function) else str(function)
    settings = {"function": named, "allow_code": True, **settings}
    read = cast(Function, _settings("reranker", "function", settings))
    if callable(function):
        label = getattr(function, "__name__", type(function).__name__)
        read = Given(**(vars(read) | {"function": label}), call=function)
    read.rehearse(origin := read.origin(Path()), machine)
    return Reranker(read, origin, machine)


def _texts(query: object, texts: Iterable[object]) -> list[str]:
    """The texts as a list; a lone string would be taken apart into letters."""
    if isinstance(texts, str):
        raise UserError("texts: one string; give a list of texts")
    named = [("query", query), *((f"texts[{position}]", text) for position, text in enumerate(texts))]
    wrong = [f"{name}: {text!r:.60} is not a string" for name, text in named if not isinstance(text, str)]
    if wrong:
        raise UserError(wrong)
    return [str(text) for _, text in named[1:]]


def _refuse_below(least: int, **numbers: int | None) -> None:
    wrong = [
        f"{name}={value!r}: give a whole number of at least {least}"
        for name, value in numbers.items()
        if value is not None and (not isinstance(value, int | np.integer) or value < least)
    ]
    if wrong:
        raise UserError(wrong)


def _refuse_foreign(collection: Collection, candidates: Candidates) -> None:
    """Row numbers mean nothing in another collection."""
    queries, rows = len(collection.query_ids), len(collection.corpus)
    if len(candidates.rows) != queries or candidates.rows.max(initial=-1) >= rows:
        raise ValueError(f"{candidates!r} are not of {collection!r}")


def _embedding(embedder: str, index: str) -> tuple[Embedder, Index]:
    """An embedder's option, folder or hub id, and an index's option or FAISS factory string."""
    model = _option("embedder", embedder)[0] or {"model": embedder}
    factory = _option("index", index)[0] or {"factory": index}
    return cast(Embedder, _settings("embedder", "", model)), cast(Index, _settings("index", "", factory))


def _option(group: str, name: str) -> tuple[dict[str, Any] | None, str]:
    """The keys in an option's YAML and its kind; None if `name` is no option of the group.

    Raises UserError for a name that is neither an option nor looks like a path, a hub id or a wheel.
    """
    folder = conf_folder() / group
    known = sorted({*(path.stem for path in folder.glob("*.yaml")), *installed.names(group)})
    if not (folder / f"{name}.yaml").is_file():
        if name in installed.names(group):
            return {}, name
        if re.fullmatch(r"[\w.-]+", name) and not Path(name).exists() and group != "index":
            raise UserError(f"{group} {name}: no such option or folder; options: {', '.join(known)}")
        return None, ""
    values = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    kind = _SCHEMA.search(str(values.pop("defaults", "")))
    return values, kind[1] if kind else ""


def _settings(group: str, kind: str, values: dict[str, Any]) -> object:
    """Typed settings of one group. Raises UserError with every mistake in them."""
    if not GROUPS[group].has(kind):
        raise UserError(f"{group} {kind}: choose one of {', '.join(GROUPS[group].kinds)}")
    classes = GROUPS[group].classes
    problems: list[str] = []
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    found: Any = convert(classes[kind], plain, f"{group}.", problems)
    problems += found.problems() if found is not None else []
    if problems:
        raise UserError(problems)
    return found


def _machine(device: str, precision: str) -> hardware.Hardware:
    if problems := hardware.problems(device, precision):
        raise UserError(problems)
    return hardware.choose(device, precision)


def _cache_dir(given: str | Path | None) -> Path:
    """Where runs keep what they reuse."""
    place = given or os.environ.get("RERANKBENCH_CACHE") or "~/.cache/rerankbench"
    return Path(place).expanduser().absolute()
