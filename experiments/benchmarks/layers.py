"""One pass for all layers and depths against one run for each: a layerwise model with random weights.

    python experiments/benchmarks/layers.py

The questions are three layers at two depths. The last line is JSON: seconds of the one pass, of six separate
runs, and the ratio.
"""

from __future__ import annotations

import json
import time
from typing import Any

import architectures as a
import numpy as np

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget, Loop
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.layerwise import Layerwise
from rerankbench.rerankers.scoring.pair_window import PairWindow

LAYERS, DEPTHS, QUERIES = (4, 8, 12), (16, 32), 3


def small_minicpm() -> Any:
    """MiniCPM's proportions at a sixth of its width, 12 layers."""
    architecture, config = a.minicpm()
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 384, 960, 12
    config.num_attention_heads = config.num_key_value_heads = 6
    config.start_layer, config.vocab_size = 2, 30_000
    return architecture, config


def main() -> None:
    a.write_tokenizer(a.FOLDER)
    pairs = a.make_pairs(QUERIES * max(DEPTHS), None, 0, max(DEPTHS))
    rank = np.arange(len(pairs)) % max(DEPTHS)
    once = [seconds(list(LAYERS), pairs) for _ in range(3)]
    runs = []
    for _ in range(3):
        parts = [
            seconds([layer], [pair for pair, r in zip(pairs, rank, strict=True) if r < depth])
            for layer in LAYERS
            for depth in DEPTHS
        ]
        runs.append(sum(parts))
    one, many = float(np.median(once)), float(np.median(runs))
    print(json.dumps({"one_pass_seconds": one, "six_runs_seconds": many, "ratio": many / one}))


def seconds(layers: list[int], pairs: list[tuple[str, str]]) -> float:
    """Time from texts to scores; loading is not in it."""
    machine = Hardware("cpu", "fp32")
    with a.quiet(), a.random_weights(small_minicpm, "cpu", 0):
        model = Layerwise(model=str(a.FOLDER), cutoff_layers=layers).load(
            Weights(a.FOLDER, "random", "layerwise"), machine
        )
    started = time.perf_counter()
    queries, documents = zip(*pairs, strict=True)
    window = PairWindow.of(model, model.tokenize_queries(queries), model.tokenize_documents(documents))
    loop = Loop(model.forward, machine, Budget(512, machine.batch_tokens), streams=machine.streams)
    for _ in loop.run(window):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
