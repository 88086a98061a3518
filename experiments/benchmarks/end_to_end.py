"""The wall time of whole evaluations in two stages: ours, FlagEmbedding's evaluation module, and mteb.

    python experiments/benchmarks/end_to_end.py --collection FOLDER --queries 50
    python experiments/benchmarks/end_to_end.py --collection FOLDER --mteb-python mteb/bin/python

Each embeds all documents, retrieves `--depth` of them for each query and reranks these: the same texts,
models, lengths and pairs in a batch; precision is what each takes by default on this machine. Every
evaluation is one command in a process of its own; the contestants take turns, and the median of the rounds
counts. "cold" begins with nothing but the models' folders, "warm" is the same command once more, with all
that the first one kept. nDCG@10 before and after reranking shows that all did the same. mteb runs in an
environment of its own (pip install mteb). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from processes import Cost, once

from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.sample import Sample
from rerankbench.engine.models import references

EMBEDDER_TOKENS, RERANKER_TOKENS = 256, 512
STATES = ("cold", "warm")


@dataclass(frozen=True)
class Task:
    """What all are given: data in the layouts of `write_data`, folders of models, and the same limits."""

    data: Path
    embedder: Path
    reranker: Path
    depth: int
    batch_size: int
    precision: str


@dataclass(frozen=True)
class Contestant:
    """A command, and where it leaves nDCG@10; `place` is its working folder, empty before the first time."""

    command: Callable[[Task, Path], list[str]]
    found: Callable[[Task, Path], dict[str, float]]


def write_data(collection: Collection, limit: int, folder: Path) -> int:
    """The first queries that have a relevant document, as BEIR and as FlagEmbedding want them; how many."""
    relevant = np.unique(collection.judged_query[collection.judged_grade > 0])[:limit].tolist()
    # titles are joined to the texts already, so that nobody joins them in another way
    ids = collection.corpus.ids()
    texts = collection.corpus.texts(np.arange(len(ids)))
    documents = [(doc_id, "", text) for doc_id, text in zip(ids, texts, strict=True)]
    queries = [(collection.query_ids[q], collection.query_texts[q]) for q in relevant]
    judged = zip(collection.judged_query, collection.judged_ids(), collection.judged_grade, strict=True)
    kept = set(relevant)
    grades = [(collection.query_ids[q], doc_id, int(grade)) for q, doc_id, grade in judged if q in kept]
    beir, flag = folder / "beir", folder / "flag"
    write_lines(beir / "corpus.jsonl", ("_id", "title", "text"), documents)
    write_lines(beir / "queries.jsonl", ("_id", "text"), queries)
    rows = [("query-id", "corpus-id", "score"), *grades]
    (beir / "qrels").mkdir()
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (beir / "qrels" / "test.tsv").write_text(lines, encoding="utf-8")
    write_lines(flag / "corpus.jsonl", ("id", "title", "text"), documents)
    write_lines(flag / "test_queries.jsonl", ("id", "text"), queries)
    write_lines(flag / "test_qrels.jsonl", ("qid", "docid", "relevance"), grades)
    return len(queries)


def write_lines(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


def our_command(task: Task, place: Path) -> list[str]:
    return [
        sys.executable, "-m", "rerankbench",
        "dataset=beir", f"dataset.path={task.data / 'beir'}",
        "embedder=minilm", f"embedder.model={task.embedder}", f"embedder.max_length={EMBEDDER_TOKENS}",
        "reranker=minilm", f"reranker.model={task.reranker}", f"reranker.max_length={RERANKER_TOKENS}",
        f"candidates={task.depth}", "cutoffs=[10]",
        f"batch_size={task.batch_size}", f"precision={task.precision}",
        f"cache_dir={place / 'cache'}", f"hydra.run.dir={place / 'out'}",
    ]  # fmt: skip


def our_figures(task: Task, place: Path) -> dict[str, float]:
    measures = json.loads((place / "out" / "result.json").read_text())["measures"]
    return {stage: measures[stage]["ndcg_at_10"] for stage in ("first_stage", "reranked")}


def flag_command(task: Task, place: Path) -> list[str]:
    """Its embedder takes the first token's vector unless told otherwise, and 3,000 texts in a batch."""
    options = {
        "eval_name": "end_to_end", "dataset_dir": task.data / "flag", "cache_path": place / "datasets",
        "output_dir": place / "results", "corpus_embd_save_dir": place / "vectors",
        "search_top_k": task.depth, "rerank_top_k": task.depth,
        "embedder_name_or_path": task.embedder, "embedder_model_class": "encoder-only-base",
        "pooling_method": "mean", "embedder_batch_size": task.batch_size,
        "embedder_query_max_length": EMBEDDER_TOKENS, "embedder_passage_max_length": EMBEDDER_TOKENS,
        "reranker_name_or_path": task.reranker, "reranker_model_class": "encoder-only-base",
        "reranker_batch_size": task.batch_size, "reranker_max_length": RERANKER_TOKENS,
    }  # fmt: skip
    return [sys.executable, "-m", "FlagEmbedding.evaluation.custom", *as_options(options)]


def as_options(values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def flag_figures(task: Task, place: Path) -> dict[str, float]:
    folder = place / "results" / task.embedder.name
    files = {"first_stage": folder / "NoReranker", "reranked": folder / task.reranker.name}
    found = {
        name: json.loads((file / "EVAL" / "eval_results.json").read_text()) for name, file in files.items()
    }
    return {name: values["test"]["ndcg_at_10"] for name, values in found.items()}


def mteb_contestant(python: str) -> Contestant:
    script = Path(__file__).with_name("mteb_two_stages.py")

    def command(task: Task, place: Path) -> list[str]:
        given = {
            "data": task.data / "beir", "embedder": task.embedder, "reranker": task.reranker,
            "depth": task.depth, "batch-size": task.batch_size,
            "embedder-tokens": EMBEDDER_TOKENS, "reranker-tokens": RERANKER_TOKENS,
        }  # fmt: skip
        return [python, str(script), *as_options(given)]

    return Contestant(command, lambda task, place: json.loads((place / "found.json").read_text()))


def contestants(mteb_python: str | None) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Those that run here, and why another does not."""
    found = {
        "ours": Contestant(our_command, our_figures),
        "flagembedding": Contestant(flag_command, flag_figures),
    }
    if mteb_python is None:
        return found, {"mteb": "no --mteb-python: an environment of its own, with pip install mteb"}
    return found | {"mteb": mteb_contestant(str(Path(mteb_python).absolute()))}, {}


def race(everyone: dict[str, Contestant], task: Task, place: Path, rounds: int) -> dict[str, Any]:
    """Costs of each state, and nDCG@10 as the last round left it."""
    costs: dict[str, dict[str, list[Cost]]] = {name: {state: [] for state in STATES} for name in everyone}
    figures: dict[str, dict[str, dict[str, float]]] = {name: {} for name in everyone}
    names = list(everyone)
    for number in range(rounds):
        shift = number % len(names)
        for state in STATES:
            for name in [*names[shift:], *names[:shift]]:
                folder = place / f"{name}-{number}"
                folder.mkdir(exist_ok=True)
                # the models are folders: nobody need ask the hub for them
                cost = once(everyone[name].command(task, folder), folder, HF_HUB_OFFLINE="1")
                costs[name][state].append(cost)
                figures[name][state] = everyone[name].found(task, folder)
                print(
                    f"{name:14} {state} {costs[name][state][-1].wall:8.1f} s  nDCG@10 {figures[name][state]}"
                )
    return {
        name: {state: shown(costs[name][state]) | figures[name][state] for state in STATES}
        for name in everyone
    }


def shown(costs: Sequence[Cost]) -> dict[str, float]:
    return {
        "seconds": round(median(cost.wall for cost in costs), 2),
        "cpu_seconds": round(median(cost.cpu for cost in costs), 2),
        "peak_mb": max(cost.memory for cost in costs) // 10**6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", help="a folder in BEIR layout; without it, the shipped sample")
    parser.add_argument("--queries", type=int, default=50, help="the first that have a relevant document")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32, help="the most texts or pairs in a batch")
    parser.add_argument("--precision", default="auto", help="of ours")
    parser.add_argument("--embedder", default="wheel:all-MiniLM-L6-v2", help="pooled by the mean")
    parser.add_argument("--reranker", default="wheel:ms-marco-MiniLM-L-12-v2")
    parser.add_argument("--mteb-python", help="the interpreter of an environment that has mteb")
    parser.add_argument("--only", default="ours,flagembedding,mteb")
    parser.add_argument("--cache-dir", default="~/.cache/rerankbench", help="where the models are")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(arguments, Path(place))))


def measure(arguments: argparse.Namespace, place: Path) -> dict[str, Any]:
    cache_dir = Path(arguments.cache_dir).expanduser()
    source = Beir(path=arguments.collection) if arguments.collection else Sample()
    collection = source.load(cache_dir)
    queries = write_data(collection, arguments.queries, place / "data")
    embedder, reranker = (
        references.resolve(model, None, cache_dir).folder
        for model in (arguments.embedder, arguments.reranker)
    )
    task = Task(
        place / "data", embedder, reranker, arguments.depth, arguments.batch_size, arguments.precision
    )
    everyone, left_out = contestants(arguments.mteb_python)
    asked = {name: one for name, one in everyone.items() if name in arguments.only.split(",")}
    found = race(asked, task, place, arguments.rounds)
    ratios = {
        name: {state: values[state]["seconds"] / found["ours"][state]["seconds"] for state in STATES}
        for name, values in found.items()
        if "ours" in found and name != "ours"
    }
    return {
        "ratios": ratios, "found": found, "left_out": left_out,
        "documents": len(collection.corpus), "queries": queries, "depth": arguments.depth,
    }  # fmt: skip


if __name__ == "__main__":
    main()
