"""Pairs per second of an ONNX file: pair by pair as here, and in padded batches by onnxruntime alone.

    python experiments/benchmarks/onnx_files.py --collection FOLDER --run FILE --pairs 500

Same process, same pairs, same threads; the contestants take turns and the median of the rounds counts. Also
says how far scores in padded batches are from those of each pair alone. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scoring import Contestant, Pair, collection_of, our_scores, ours, pairs_of, race

from rerankbench.engine import hardware
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.rerankers.onnx import Onnx, OnnxModel


def batched(model: OnnxModel, size: int) -> Contestant:
    """onnxruntime by itself: all threads in each operator, pairs in the order given, padded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.weights.file, options)

    def score(pairs: Sequence[Pair]) -> NDArray[np.float32]:
        parts = [logits(session, model.tokenizer, pairs[i : i + size]) for i in range(0, len(pairs), size)]
        return np.concatenate(parts)[:, 0]

    return Contestant(f"onnxruntime_{size}", score)


def logits(session: Any, tokenizer: Any, pairs: Sequence[Pair]) -> NDArray[np.float32]:
    queries, documents = map(list, zip(*pairs, strict=True))
    cut = {"truncation": "only_second", "max_length": 512, "padding": True}
    inputs = tokenizer(queries, documents, return_tensors="np", **cut)
    names = [one.name for one in session.get_inputs()]
    found: NDArray[np.float32] = session.run(None, {name: inputs[name] for name in names})[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="wheel:ms-marco-MiniLM-L-12-v2-int8")
    parser.add_argument("--torch-model", default="wheel:ms-marco-MiniLM-L-12-v2", help="the same in torch")
    parser.add_argument("--collection")
    parser.add_argument("--run")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/rerankbench").expanduser())
    asked = parser.parse_args()
    pairs = pairs_of(*collection_of(asked.collection, asked.run, asked.cache_dir), asked.pairs)
    machine, settings = Hardware("cpu", "fp32"), Onnx(asked.model)
    model = settings.load(settings.origin(asked.cache_dir), machine)
    assert isinstance(model, OnnxModel)
    weights = references.resolve(asked.torch_model, None, asked.cache_dir)
    rivals = [
        Contestant("ours", lambda some: our_scores(model, machine, some, None)[0]),
        *(batched(model, size) for size in (1, 8, 32)),
        ours("torch_fp32", weights, machine, None),
        ours("torch_auto", weights, hardware.choose("cpu"), None),
    ]
    seconds = race(rivals, pairs, asked.rounds)
    rates = {name: len(pairs) / float(np.median(times)) for name, times in seconds.items()}
    alone = rivals[0].score(pairs)
    moved = {one.name: float(np.abs(one.score(pairs) - alone).max()) for one in rivals[1:4]}
    print(json.dumps({"pairs": len(pairs), "pairs_per_second": rates, "largest_difference": moved}))


if __name__ == "__main__":
    main()
