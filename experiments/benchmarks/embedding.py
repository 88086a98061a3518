"""Texts per second: FlagModel.encode against ours, on the same model, texts and threads.

    python experiments/benchmarks/embedding.py --collection FOLDER --texts 500

The two take turns and the median of the rounds counts. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.sample import Sample
from rerankbench.engine import hardware
from rerankbench.engine.embedders.embedder import Embedder, EmbedderModel
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget, Loop
from rerankbench.engine.models import references

SETTINGS = Embedder(model="wheel:all-MiniLM-L6-v2", pooling="mean", max_length=256)


def ours(model: EmbedderModel, machine: Hardware, texts: list[str]) -> NDArray[np.float32]:
    window = model.read(texts, SETTINGS)
    vectors = np.empty((len(texts), model.dimensions), np.float32)
    loop = Loop(model.forward, machine, Budget(4096, machine.batch_tokens), streams=machine.streams)
    for index, values in loop.run(window):
        vectors[index] = values
    return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", help="a folder in BEIR layout; without it, the shipped sample")
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache-dir", default="~/.cache/rerankbench")
    arguments = parser.parse_args()
    cache_dir = Path(arguments.cache_dir).expanduser()
    source = Beir(path=arguments.collection) if arguments.collection else Sample()
    corpus = source.load(cache_dir).corpus
    texts = corpus.texts(np.linspace(0, len(corpus) - 1, min(arguments.texts, len(corpus))).astype(np.int64))
    print(json.dumps(measure(texts, arguments.rounds, cache_dir)))


def measure(texts: list[str], rounds: int, cache_dir: Path) -> dict[str, object]:
    from FlagEmbedding import FlagModel

    weights, auto = references.resolve(SETTINGS.model, None, cache_dir), hardware.choose()
    peer = FlagModel(str(weights.folder), pooling_method="mean", use_fp16=False, devices=auto.device)
    exact = Hardware(auto.device, "fp32")
    machines = {"fp32": exact, "auto": auto}
    loaded = {name: EmbedderModel(SETTINGS, weights, machine) for name, machine in machines.items()}
    steps = {"flag_model": lambda some: peer.encode(some, batch_size=32, max_length=256)}
    for name, model in loaded.items():
        steps[name] = lambda some, model=model, name=name: ours(model, machines[name], some)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(texts[:32])
    vectors = {}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            vectors[name] = np.asarray(step(texts))
            seconds[name].append(time.perf_counter() - started)
    rates = {name: len(texts) / float(np.median(values)) for name, values in seconds.items()}
    return {
        "ratios": {name: rates[name] / rates["flag_model"] for name in loaded},
        "texts_per_second": rates,
        "largest_difference_fp32": float(np.abs(vectors["fp32"] - vectors["flag_model"]).max()),
        "smallest_cosine_auto": float((vectors["auto"] * vectors["flag_model"]).sum(axis=1).min()),
        "environment": hardware.environment(auto),
    }


if __name__ == "__main__":
    main()
