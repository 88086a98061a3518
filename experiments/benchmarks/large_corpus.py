"""How our own part of a run grows with the corpus: time and peak memory of every step, models left out.

    python experiments/benchmarks/large_corpus.py [--sizes 10000,100000] [--folder FOLDER]

Texts and vectors are synthetic and seeded. "Embedding" goes through the real path (blocks, keys, shards,
hashes) with a stand-in for the model that costs nothing. Each step runs in a process of its own, so that its
peak memory is its own; a second table extrapolates.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

WORDS = 120  # of a passage
DIMENSIONS = 384
QUERIES = 200
DEPTH = 100
FOUND_AT_LEAST = 0.5  # of the exact neighbours, or the index is broken
STEPS = ("conversion", "digest", "embedding", "exact search", "index ivf", "search ivf")


def vocabulary() -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return np.array(["".join(drawn.choice(letters, drawn.integers(2, 10))) for _ in range(5000)])


def write_corpus(path: Path, rows: int) -> None:
    words, drawn = vocabulary(), np.random.default_rng(2)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = " ".join(words[drawn.integers(0, len(words), WORDS)])
            file.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")


def corpus(folder: Path) -> Any:
    """The corpus as a run loads it: converted once, then memory-mapped."""
    from rerankbench.collections.collection import Corpus
    from rerankbench.collections.reading import conversion
    from rerankbench.collections.reading.layout import DOCUMENTS
    from rerankbench.collections.reading.rows import new_log

    stored = conversion.read_table(
        folder / "corpus.jsonl", DOCUMENTS, new_log(folder / "corpus.jsonl"), folder
    )
    return Corpus(stored.table, release=stored.release)


def stand_in(dimensions: int) -> Any:
    """A model that costs nothing: the vector of a text is drawn around one of 1000 centres by its hash."""
    import torch

    centres = torch.randn(1000, dimensions, generator=torch.Generator().manual_seed(3))

    def forward(inputs: dict[str, Any]) -> Any:
        numbers = inputs["input_ids"]
        noise = torch.sin(numbers[:, 1:2] * torch.arange(1, dimensions + 1) * 0.001) * 0.7
        return torch.nn.functional.normalize(centres[numbers[:, 0]] + noise, dim=-1)

    def tokenize(texts: Any, settings: Any) -> list[Any]:
        import zlib

        codes = np.array([zlib.crc32(text.encode()) for text in texts])
        return list(np.stack([codes % 1000, codes // 1000 % 100_000], axis=1).astype(np.int32))

    def window(texts: list[Any], settings: Any) -> Any:
        from rerankbench.engine.embedders.embedder import TextWindow

        return TextWindow(texts, 0)

    return SimpleNamespace(forward=forward, tokenize=tokenize, window=window, dimensions=dimensions)


def vectors_of(folder: Path, rows: int) -> Any:
    """The vectors of the corpus, computed or read."""
    from rerankbench.engine.embedders.embedder import Embedder
    from rerankbench.engine.embedders.embedding import Embedding
    from rerankbench.engine.hardware import Hardware
    from rerankbench.engine.loop import Budget

    (folder / "model").mkdir(exist_ok=True)
    embedding = Embedding.__new__(Embedding)
    embedding.settings, embedding.hardware = Embedder(model="stand-in"), Hardware("cpu", "fp32")
    embedding.cache_dir, embedding.budget, embedding.reuse = folder, Budget(4096, 1 << 20), True
    embedding.executor = local()
    embedding.weights = SimpleNamespace(identity="stand-in", label="stand-in", folder=folder / "model")  # type: ignore[assignment]
    embedding.model = stand_in(DIMENSIONS)
    embedding.meter = meter()
    return embedding.passages(corpus(folder).texts, rows)


def local() -> Any:
    from rerankbench.engine.executors.local import Local

    return Local()


def meter() -> Any:
    from rerankbench.engine.loop import Meter

    return Meter()


def queries_near(vectors: Any) -> Any:
    drawn = np.random.default_rng(4)
    chosen = [block[drawn.integers(0, len(block))] for block in vectors.blocks for _ in range(QUERIES)][
        :QUERIES
    ]
    near = np.stack(chosen) + drawn.normal(size=(len(chosen), DIMENSIONS)).astype(np.float32) * 0.02
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def prepare(step: str, folder: Path, rows: int) -> Callable[[], Any]:
    """Everything that is read before the step, and the step as a function."""
    from rerankbench.first_stages.index import Index, recall, search

    index = Index(f"IVF{lists(rows)},Flat", "nprobe=32")
    if step == "conversion":
        return lambda: corpus(folder)
    if step == "digest":
        loaded = corpus(folder)
        return lambda: loaded.digest()
    if step == "embedding":
        return lambda: vectors_of(folder, rows)
    vectors = vectors_of(folder, rows)
    queries = queries_near(vectors)
    if step == "exact search":
        return lambda: search(Index().build(vectors, 0), queries, DEPTH)
    if step == "index ivf":
        return lambda: index.ready(vectors, 0, folder)
    ready = index.ready(vectors, 0, folder)

    def look() -> float:
        return recall(search(ready, queries, DEPTH)[0], queries, vectors, 0)

    return look


def lists(rows: int) -> int:
    """As many inverted lists as FAISS advises for so many vectors, at most: 4 sqrt(rows), a power of two."""
    return 1 << int(np.log2(4 * np.sqrt(rows)))


def rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def run_step(step: str, folder: Path, rows: int) -> None:
    """Run one step in this process and print its seconds and peak memory as JSON."""
    work = prepare(step, folder, rows)
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    told = {"seconds": seconds, "mb": rss_mb(), "recall": found if step == "search ivf" else None}
    print(json.dumps(told))


def measure(rows: int, folder: Path) -> dict[str, dict[str, float]]:
    """Every step at one size, each in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder / "corpus.jsonl", rows)
    found = {}
    for step in STEPS:
        command = [sys.executable, __file__, "--step", step, "--sizes", str(rows), "--folder", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{step} at {rows:,} failed:\n{done.stderr}")
        found[step] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: dict[int, dict[str, dict[str, float]]]) -> str:
    """Seconds and peak MB of each step at each size, as Markdown."""
    sizes = list(results)
    head = "| step | " + " | ".join(f"{rows:,}: s | MB" for rows in sizes) + " |"
    lines = [head, "|---|" + "---:|---:|" * len(sizes)]
    for step in STEPS:
        cells = [f"{results[rows][step]['seconds']:.1f} | {results[rows][step]['mb']:.0f}" for rows in sizes]
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    shares = [f"{results[rows]['search ivf']['recall']:.3f} | " for rows in sizes]
    return "\n".join([*lines, f"| recall_at_{DEPTH} of ivf | " + " | ".join(shares) + " |"])


def growth(results: dict[int, dict[str, dict[str, float]]], asked: tuple[int, ...]) -> str:
    """Seconds of the largest size, grown in proportion: rows / largest times its seconds; and disk."""
    largest = max(results)
    lines = ["| passages | " + " | ".join(f"{step}: min" for step in STEPS[:4]) + " | vectors: GB |"]
    lines.append("|---:|" + "---:|" * 5)
    for rows in asked:
        minutes = [results[largest][step]["seconds"] * rows / largest / 60 for step in STEPS[:4]]
        lines.append(f"| {rows:,} | " + " | ".join(f"{value:.1f}" for value in minutes)
                     + f" | {rows * DIMENSIONS * 4 / 1e9:.1f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="10000,100000", help="passages, separated by commas")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.sizes.split(",")]
    if asked.step:
        run_step(asked.step, asked.folder, sizes[0])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        results = {rows: measure(rows, folder / str(rows)) for rows in sizes}
    print(table(results), "", growth(results, (10**7, 10**8)), sep="\n")


if __name__ == "__main__":
    main()
