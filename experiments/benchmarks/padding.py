"""How much of what padded models compute is padding: all that a path without padding could save.

    python experiments/benchmarks/padding.py --collection FOLDER --run FILE

Models whose sequences are not laid end to end (ModernBERT, DeBERTa and others) compute rectangles. Pairs are
tokenized with the packaged reranker's tokenizer and cut into windows and batches as runs cut them, on a CPU
and on an accelerator; nothing is scored. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scoring import collection_of

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget
from rerankbench.engine.models.references import resolve
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.scoring.pair_scoring import window_size


def shares(lengths: NDArray[np.int64], tokens: int) -> dict[str, float]:
    """The share of tokens that are padding, and of pairs of tokens that attention looks at in vain."""
    real = padded = seen = looked = 0.0
    for batch in batches(lengths, tokens):
        width = int(batch.max())
        real, padded = real + float(batch.sum()), padded + width * len(batch)
        seen, looked = seen + float((batch**2).sum()), looked + width**2 * len(batch)
    return {"tokens": 1 - real / padded, "attention": 1 - seen / looked}


def batches(lengths: NDArray[np.int64], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Lengths of the sequences of each batch, window by window, the longest first."""
    budget = Budget(512, tokens)
    for start in range(0, len(lengths), size := window_size(len(lengths))):
        window = -np.sort(-lengths[start : start + size])
        while len(window):
            fit = budget.fit(window[: budget.sequences])
            yield window[:fit]
            window = window[fit:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--collection")
    parser.add_argument("--run")
    parser.add_argument("--model", default="wheel:ms-marco-MiniLM-L-12-v2")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/rerankbench"))
    asked = parser.parse_args()
    collection, candidates = collection_of(asked.collection, asked.run, asked.cache_dir)
    weights = resolve(asked.model, None, asked.cache_dir)
    reader = Encoder(asked.model, max_length=asked.max_length).weightless(weights, "fp32")
    query, rank = np.nonzero(candidates.rows >= 0)
    rows, of = np.unique(candidates.rows[query, rank], return_inverse=True)
    sizes = [
        np.array([len(ids) for ids in found], np.int64)
        for found in (
            reader.tokenize_queries(collection.query_texts),
            reader.tokenize_documents(list(collection.corpus.texts(rows))),
        )
    ]
    lengths = reader.lengths(sizes[0][query], sizes[1][of])
    found = {device: shares(lengths, Hardware(device, "fp32").batch_tokens) for device in ("cpu", "cuda")}
    spread = [int(value) for value in np.percentile(lengths, [5, 50, 95])]
    print(json.dumps({"pairs": len(lengths), "tokens_5_50_95": spread, "padding": found}))


if __name__ == "__main__":
    main()
