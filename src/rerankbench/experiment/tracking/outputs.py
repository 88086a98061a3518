"""The files of a run: result.json, per_query.parquet, scores.parquet, texts.parquet, TREC runs and qrels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.collections.candidates import write_qrels, write_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.engine import hardware
from rerankbench.engine.models import references
from rerankbench.engine.store.rows import identity, write_atomic
from rerankbench.evaluation import ranking
from rerankbench.evaluation.evaluation import Measured, whole
from rerankbench.experiment import latency
from rerankbench.experiment.arm_name import arm, changed, run_name
from rerankbench.experiment.pipeline import Outcome
from rerankbench.experiment.settings import Experiment
from rerankbench.experiment.tracking.result import Result
from rerankbench.rerankers.listed import ListWork
from rerankbench.rerankers.reranker import LocalReranker, Reranker
from rerankbench.rerankers.scoring.pair_scoring import rests_on_enough
from rerankbench.rerankers.vector_reranker import VectorReranker

EXAMPLES = 60  # queries whose texts are kept: the most helped and the most hurt
EXAMPLE_RANKS = 10
CLIPPED = 500  # characters of a document that a report can show


def summarize(outcome: Outcome, sweep_id: str = "") -> Result:
    """The figures of an outcome."""
    e, collection = outcome.experiment, outcome.collection
    result = Result(arm(e), run_name(e), sweep_id=sweep_id, params=params(e, outcome))
    result.depth, result.layer = e.depth, outcome.layer
    result.reduced, result.notes = collection.reduced, [*collection.notes, *outcome.candidates.notes]
    result.dataset = dataset_of(collection)
    if collection.synthetic:
        result.notes.insert(0, synthetic_note(collection.synthetic, len(collection.query_ids)))
    result.identity = identities(outcome)
    result.index = dict(outcome.candidates.index)
    result.seconds = outcome.seconds
    result.environment = hardware.environment(outcome.context.hardware)
    result.memory_mb, result.memory_note = memory(outcome)
    add_measures(result, outcome)
    add_costs(result, outcome)
    return result


def dataset_of(collection: Collection) -> dict[str, Any]:
    """What every output says of a collection."""
    found = {
        "name": collection.name,
        "split": collection.split,
        "docs": len(collection.corpus),
        "queries": len(collection.query_ids),
        "judgements": len(collection.judged_grade),
        "relevance_threshold": collection.relevance_threshold,
        "fingerprint": collection.fingerprint(),
    }
    return found | ({"synthetic_queries": collection.synthetic} if collection.synthetic else {})


def synthetic_note(count: int, queries: int) -> str:
    """What has to be known of queries that a language model wrote."""
    wrote = "a language model wrote each from one document, and repeats its words more than people would"
    favoured = "which favours first stages and rerankers that match words"
    return f"{count:,} of {queries:,} queries are synthetic: {wrote}, {favoured}"


def memory(outcome: Outcome) -> tuple[dict[str, float | None], str | None]:
    """Peak memory of a run that has its process to itself; else nulls, and why there are no figures."""
    found, why = hardware.peak_memory_mb(outcome.context.hardware), None
    if outcome.experiment.executor.place():
        why = "models were in other processes; rerankbench-report --race FOLDER measures their memory"
    elif hardware.shared_process():
        why = "an earlier run shared this process; rerankbench-report --race FOLDER measures memory"
    return (found, None) if why is None else (dict.fromkeys(found), why)


def params(experiment: Experiment, outcome: Outcome | None = None) -> dict[str, Any]:
    """Settings in which arms may differ, flat; numbers stay numbers so that charts have axes."""
    e, groups = experiment, ("dataset", "embedder", "index", "first_stage", "reranker")
    chosen = {group: e.labels.get(group, "") for group in groups}
    if not e.first_stage.embeds():
        chosen |= {"embedder": "none", "index": "none"}
    values: dict[str, Any] = {**chosen, "depth": e.depth if e.reranker.family != "none" else 0}
    values |= {"candidates": e.candidates, "cutoffs": list(e.cutoffs), "measures": e.measures}
    values |= own_params(e.reranker) | set_params("first_stage", e.first_stage)
    if e.first_stage.embeds():
        values |= set_params("embedder", e.embedder) | set_params("index", e.index)
        values["embedder.model"] = model_label(e.embedder.model)
        values |= {} if e.index.exact else {"seed": e.seed}
    if outcome is not None:
        values["device"] = outcome.context.hardware.device
        if precision := (e.first_stage.embeds() and outcome.context.hardware.precision) or scored_in(outcome):
            values["precision"] = precision
        values["reranker.parameters_m"] = parameters_m(outcome)
        if outcome.work:
            values["reranker.model"] = outcome.work.origin.label
    return {name: masked(value) if isinstance(value, str) else value for name, value in values.items()}


def model_label(model: str) -> str:
    return references.folder_label(references.local_folder(model)) if references.is_local(model) else model


def own_params(reranker: Reranker) -> dict[str, Any]:
    """A reranker's settings; none of those that it ignores."""
    if reranker.family == "none":
        return {"reranker.parameters_m": 0.0}
    values = set_params("reranker", reranker)
    if isinstance(reranker, LocalReranker | VectorReranker):
        values["reranker.model"] = model_label(reranker.model)
    return values


def set_params(group: str, settings: Any) -> dict[str, Any]:
    """The settings of a group that are set to something."""
    values = {f"{group}.{field.name}": getattr(settings, field.name) for field in fields(settings)}
    return {name: value for name, value in values.items() if value not in (None, "")}


def parameters_m(outcome: Outcome) -> float:
    """Millions of parameters, counted in the weights."""
    return round((outcome.work.origin.parameters or 0) / 1e6, 1) if outcome.work else 0.0


def identities(outcome: Outcome) -> dict[str, str]:
    """Content hashes of what determined the figures; empty for a part that had none."""
    stage = outcome.experiment.first_stage
    return {
        "embedder": identity(stage.identity(outcome.context)) if stage.embeds() else "",
        "candidates": outcome.candidates_identity,
        "reranker": outcome.work.store.folder.name if outcome.work else "",
    }


def failure(
    experiment: Experiment | None,
    labels: dict[str, str],
    error: Exception,
    sweep_id: str,
    told: Sequence[str] = (),
) -> Result:
    """What stands in for the result of an experiment that could not be run.

    told: the settings that its name tells where its config could not even be read.
    """
    name = arm(experiment) if experiment else unread(labels, told)
    text = masked(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
    return Result(
        arm=name,
        name=run_name(experiment) if experiment else name,
        status="failed",
        error=text,
        sweep_id=sweep_id,
        params=params(experiment) if experiment else labels,
    )


def unread(labels: Mapping[str, str], told: Sequence[str]) -> str:
    """The name of an arm of which only the chosen options and the settings that vary are known."""
    named = ("reranker=", "first_stage=", "dataset", "experiment=")
    rest = [changed(line) for line in told if not line.startswith(named)]
    stage = [] if labels.get("first_stage", "dense") == "dense" else [labels["first_stage"], "+"]
    return masked(" ".join([*stage, labels.get("reranker", "experiment"), *rest]))


def keep_failure(result: Result, folder: Path) -> bool:
    """Write a failure in place of an earlier result; where there is no room, at least remove that one."""
    try:
        result.write(folder)
        return True
    except OSError:
        with suppress(OSError):
            (folder / "result.json").unlink(missing_ok=True)
        return False


def add_measures(result: Result, outcome: Outcome) -> None:
    """Means at the asked cutoffs, and the curves over depth, layer and k."""
    e, evaluation, layer = outcome.experiment, outcome.evaluation, outcome.layer
    first = evaluation.one("first_stage", 0)
    final = evaluation.one("reranked", e.depth, layer) if outcome.work else first
    best = evaluation.one("oracle", e.depth) if e.depth else first
    stages = {"first_stage": first, "reranked": final, "oracle": best}
    result.measures = {name: at_cutoffs(order, e.cutoffs) for name, order in stages.items()}
    reranked = evaluation.reranked(layer) if outcome.work else []
    result.by_depth = {str(order.depth): at_cutoffs(order, e.cutoffs) for order in reranked}
    oracles = [order for order in evaluation.orders if order.stage == "oracle"]
    result.oracle_by_depth = {str(order.depth): at_cutoffs(order, e.cutoffs) for order in oracles}
    if outcome.work and len(outcome.work.layers) > 1:
        layers = {n: evaluation.one("reranked", e.depth, n) for n in outcome.work.layers}
        result.by_layer = {str(n): at_cutoffs(order, e.cutoffs) for n, order in layers.items()}
    result.by_cutoff = curves_over_k(first, "first_stage/") | curves_over_k(final, "")


def at_cutoffs(order: Measured, cutoffs: tuple[int, ...]) -> dict[str, float]:
    """Means of an order's measures at the asked cutoffs."""
    ends = tuple(f"_at_{k}" for k in cutoffs)
    return {name: value for name, value in order.mean().items() if name.endswith(ends)}


def curves_over_k(order: Measured, prefix: str) -> dict[str, dict[str, float]]:
    """`ndcg_at_k` and the rest: values by k."""
    curves: dict[str, dict[str, float]] = {}
    for name, value in order.mean().items():
        kind, k = name.split("_at_")
        if kind in ("ndcg", "recall", "mrr"):
            curves.setdefault(f"{prefix}{kind}_at_k", {})[k] = value
    return curves


def add_costs(result: Result, outcome: Outcome) -> None:
    """What the reranking took: pairs, throughput, latency, the model's size."""
    work, scored = outcome.work, outcome.scored
    if work is None or scored is None:
        result.model = {"parameters": 0, "label": "none", "load_seconds": 0.0, "precision": None}
        return
    total = len(work.pairs)
    result.pairs = {"total": total, "scored": scored.scored, "reused": total - scored.scored}
    cost = dict(scored.cost)
    result.model = {
        "parameters": work.origin.parameters,
        "label": work.origin.label,
        "load_seconds": cost.pop("load_seconds", None),
        "precision": scored_in(outcome),
    }
    result.model |= {"served": served} if (served := work.reranker.served) else {}
    result.model |= {"paid": True} if work.reranker.paid else {}
    result.model |= {"compares_vectors": True} if isinstance(work.reranker, VectorReranker) else {}
    result.price_per_1k = prices(outcome, work.reranker)
    result.throughput = cost if rests_on_enough(cost) else None
    if outcome.latency:
        result.latency_ms = latency.percentiles(outcome.latency.reranking)
        result.query_latency_ms = latency.percentiles(outcome.latency.whole) or None


def scored_in(outcome: Outcome) -> str | None:
    """The precision of the scores by their identity, such as `of the file`; None: not computed here."""
    work = outcome.work
    if work is None or isinstance(work, ListWork):
        return None
    parts = work.reranker.identity(work.origin, outcome.context.hardware.precision)
    return parts.get("precision")


def prices(outcome: Outcome, reranker: Reranker) -> dict[str, float] | None:
    """What a service charges for reranking 1,000 such queries, by depth; None where that is not known.

    By these queries' own candidates, each query asked for by itself and nothing stored, as a search is.
    """
    if not reranker.paid:
        return None
    collection, found = outcome.collection, {}
    for depth in ranking.depths_up_to(outcome.experiment.depth):
        rows = outcome.candidates.rows[:, :depth]
        query_of, _ = np.nonzero(rows >= 0)
        queries = [collection.query_texts[query] for query in query_of.tolist()]
        price = reranker.price(queries, collection.corpus.texts(rows[rows >= 0]))
        if price is None:
            return None
        found[str(depth)] = 1000 * price / max(1, len(rows))
    return found


def write(folder: Path, result: Result, outcome: Outcome) -> None:
    """Write all files; result.json last, so that where it is the others are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)  # an earlier run's does not vouch for these files
    parquet(per_query_table(outcome), folder / "per_query.parquet")
    parquet(score_table(outcome), folder / "scores.parquet")
    parquet(text_table(outcome), folder / "texts.parquet")
    collection, candidates = outcome.collection, outcome.candidates
    write_trec(folder / "candidates.trec", collection, candidates.rows, candidates.scores, "candidates")
    order = final_order(outcome)
    rows = np.take_along_axis(candidates.rows, order, axis=1)
    write_trec(folder / "reranked.trec", collection, rows, None, result.arm.replace(" ", ""))
    write_qrels(folder / "qrels.trec", collection)
    result.write(folder)


def final_order(outcome: Outcome) -> ranking.Order:
    """The order at the asked depth and the arm's layer."""
    if outcome.scores is None:
        return ranking.first_stage(outcome.candidates.rows.shape)
    return ranking.rerank(whole(outcome.scores[:, :, -1], outcome.candidates), outcome.experiment.depth)


def parquet(table: pa.Table, path: Path) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_atomic(path, sink.getvalue().to_pybytes())


def per_query_table(outcome: Outcome) -> pa.Table:
    """query_id, stage, layer, depth, and every measure at the asked cutoffs, one row an order and query."""
    ids = outcome.collection.query_ids
    ends = tuple(f"_at_{k}" for k in outcome.experiment.cutoffs)
    tables = [order_table(order, ids, ends) for order in outcome.evaluation.orders]
    return pa.concat_tables(tables, promote_options="default")


def order_table(order: Measured, query_ids: list[str], ends: tuple[str, ...]) -> pa.Table:
    columns: dict[str, Any] = {
        "query_id": pa.array(query_ids, pa.string()),
        "stage": pa.array([order.stage] * len(query_ids)).dictionary_encode(),
        "layer": pa.array([order.layer] * len(query_ids), pa.int32()),
        "depth": pa.array([order.depth] * len(query_ids), pa.int32()),
    }
    kept = {name: values for name, values in order.per_query.items() if name.endswith(ends)}
    return pa.table(columns | {name: pa.array(values, pa.float64()) for name, values in kept.items()})


def score_table(outcome: Outcome) -> pa.Table:
    """query_id, doc_id, rank and score of the first stage, relevance (null: unjudged), score per layer."""
    rows, corpus = outcome.candidates.rows, outcome.collection.corpus
    query, rank = np.nonzero(rows >= 0)
    flat = rows[query, rank]
    distinct, inverse = np.unique(flat, return_inverse=True)
    ids = pa.array(corpus.ids(distinct), pa.string())
    grades = outcome.collection.grades(rows)[query, rank]
    columns: dict[str, Any] = {
        "query_id": pa.array(outcome.collection.query_ids, pa.string()).take(pa.array(query)),
        "doc_id": ids.take(pa.array(inverse)),
        "rank": pa.array(rank + 1, pa.int32()),
        "first_stage_score": pa.array(outcome.candidates.scores[query, rank], pa.float32()),
        "relevance": pa.array(grades, pa.int32(), mask=grades == UNJUDGED),
    }
    for name, values in layer_scores(outcome):
        columns[name] = pa.array(values[query, rank], pa.float32(), from_pandas=True)  # NaN: not scored
    return pa.table(columns)


def layer_scores(outcome: Outcome) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """`score`, or `score_<layer>` for each of several layers, as wide as the candidates."""
    if outcome.scores is None or outcome.work is None:
        return
    layers = outcome.work.layers
    for position, layer in enumerate(layers):
        name = "score" if len(layers) == 1 else f"score_{layer}"
        yield name, whole(outcome.scores[:, :, position], outcome.candidates)


def text_table(outcome: Outcome) -> pa.Table:
    """Texts of the queries that changed most and of the documents on their first ranks: kind, id, text."""
    queries = most_changed(outcome)
    collection, rows = outcome.collection, outcome.candidates.rows[queries]
    shown = [rows[:, :EXAMPLE_RANKS]]
    for _, scores in layer_scores(outcome):
        for depth in ranking.depths_up_to(outcome.experiment.depth):
            order = ranking.rerank(scores[queries], depth)[:, :EXAMPLE_RANKS]
            shown.append(np.take_along_axis(rows, order, axis=1))
    documents = np.unique(np.concatenate(shown, axis=1))
    documents = documents[documents >= 0]
    texts = [collection.query_texts[query] for query in queries]
    texts += [text[:CLIPPED] for text in collection.corpus.texts(documents)]
    ids = [collection.query_ids[query] for query in queries] + collection.corpus.ids(documents)
    kinds = ["query"] * len(queries) + ["document"] * len(documents)
    return pa.table({"kind": kinds, "id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string())})


def most_changed(outcome: Outcome) -> NDArray[np.int64]:
    """Queries whose nDCG rises or falls most at any depth or layer, in collection order.

    Without judgements those of whose first ranks the most are new.
    """
    if not outcome.collection.judged:
        return np.sort(np.argsort(-new_at_the_top(outcome), kind="stable")[:EXAMPLES])
    name = f"ndcg_at_{max(outcome.experiment.cutoffs)}"
    before = outcome.evaluation.one("first_stage", 0).per_query[name]
    after = [order.per_query[name] for order in outcome.evaluation.orders if order.stage == "reranked"]
    if not after:
        return np.arange(min(EXAMPLES, len(before)))
    change = np.stack(after) - before
    gains_and_losses = (-change.max(axis=0), change.min(axis=0))
    most = [np.argsort(values, kind="stable")[: EXAMPLES // 2] for values in gains_and_losses]
    return np.unique(np.concatenate(most))


def new_at_the_top(outcome: Outcome) -> NDArray[np.int64]:
    """How many of the reranked first ranks were not among them before [queries]."""
    first = final_order(outcome)[:, :EXAMPLE_RANKS]
    kept = np.take_along_axis(outcome.candidates.rows, first, axis=1) >= 0
    return np.asarray(((first >= EXAMPLE_RANKS) & kept).sum(axis=1))
