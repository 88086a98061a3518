"""Embeddings: texts to unit vectors, each distinct text once, kept under what determines them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench import models
from rerankbench.errors import Problem, UserError
from rerankbench.executors import Executor
from rerankbench.executors.local import Local
from rerankbench.hardware import Hardware
from rerankbench.lock import SUFFIX, hold
from rerankbench.progress import Progress
from rerankbench.rerankers.reranker import pad
from rerankbench.rerankers.weights import reading, take
from rerankbench.scoring import sizes
from rerankbench.store import ARITHMETIC, Keys, RowStore, identity, read_array, text_keys, write_array
from rerankbench.tokens import Tokens, token_ids

if TYPE_CHECKING:
    from torch import Tensor

    from rerankbench.loop import Batch, Budget, Meter

WINDOW = 8192  # texts that are tokenized and sorted together
BLOCK = 8192  # texts whose vectors share a file, the unit that executors share out: 13 MB at 384 dimensions
SMALL_BLOCK = 2048  # of corpora up to SMALL_CORPUS texts, so that a few thousand are work for several workers
SMALL_CORPUS = 65_536  # no more files than a larger corpus has

Texts = Callable[[NDArray[np.int64]], Sequence[str]]  # row numbers to texts


@dataclass(frozen=True)
class Embedder:
    """Settings of a bi-encoder whose vectors are compared by inner product; every field is a config key.

    model: a folder, a hub id such as BAAI/bge-base-en-v1.5, or wheel:NAME of a packaged model.
    revision: a commit, tag or branch on the hub; null: the newest.
    pooling: cls (BGE) or mean (MiniLM, E5).
    normalize: whether vectors have length 1, so that inner products are cosines.
    max_length: most tokens of a document.
    query_max_length: most tokens of a query; null: as max_length.
    query_instruction, passage_instruction: text put in front of each query, of each document.
    attention: sdpa, eager or flash_attention_2.
    trust_remote_code: run Python files that come with the model, with all your rights.
    """

    model: str = "???"
    revision: str | None = None
    pooling: str = "cls"
    normalize: bool = True
    max_length: int = 512
    query_max_length: int | None = None
    query_instruction: str = ""
    passage_instruction: str = ""
    attention: str = "sdpa"
    trust_remote_code: bool = False

    FREE: ClassVar[frozenset[str]] = frozenset({"model", "revision", "trust_remote_code", "query_max_length"})

    def problems(self) -> list[str]:
        """Impossible settings, one line each; reads no weights."""
        wrong = models.reference_problems(self.model, self.revision)
        found: list[str] = [Problem(f"embedder.{line}", "embedder.model", "place") for line in wrong]
        if not found:
            found += self.length_problems(models.positions(self.model))
        if not found and models.is_local(self.model):
            (name, *_) = models.describe(models.local_folder(self.model))["architectures"] or [""]
            if name.endswith("ForSequenceClassification"):
                found.append(f"embedder.model={self.model}: holds {name}, a reranker; give an embedder")
        if self.pooling not in ("cls", "mean"):
            found.append(f"embedder.pooling={self.pooling}: choose cls (BGE) or mean (MiniLM, E5)")
        for name in ("max_length", "query_max_length"):
            value = getattr(self, name)
            if value is not None and value < 4:
                found.append(f"embedder.{name}={value}: give at least 4 tokens")
        return found

    def length_problems(self, positions: int | None) -> list[str]:
        """Lengths beyond the `positions` that the model has."""
        lengths = {f"embedder.{name}": getattr(self, name) for name in ("max_length", "query_max_length")}
        return models.length_problems(lengths, positions)

    def identity(self, weights: models.Weights, precision: str) -> dict[str, Any]:
        """What determines a vector besides its text. Queries and passages differ in their instruction and
        length only, which `for_queries` turns into the settings themselves."""
        settings = {name: value for name, value in asdict(self).items() if name not in self.FREE}
        del settings["query_instruction"]
        return {"arithmetic": ARITHMETIC, "weights": weights.identity, "precision": precision, **settings}

    def for_queries(self) -> Embedder:
        """The settings with which queries are embedded, as if they were passages."""
        changed = {
            "passage_instruction": self.query_instruction,
            "max_length": self.query_max_length or self.max_length,
        }
        return Embedder(**(asdict(self) | changed))


class EmbedderModel:
    """A loaded embedder; vectors depend on each text alone."""

    def __init__(self, settings: Embedder, weights: models.Weights, hardware: Hardware) -> None:
        from FlagEmbedding import FlagModel

        with reading(weights.folder, hardware.dtype, settings.attention):
            wrapper = FlagModel(
                str(weights.folder),
                use_fp16=False,
                pooling_method=settings.pooling,
                devices=hardware.device,
                trust_remote_code=settings.trust_remote_code,
            )
        first_only = settings.pooling == "cls"
        self.model, self.tokenizer = take(wrapper, hardware.device, first_only)
        self.settings = settings
        self.dimensions: int = self.model.config.hidden_size

    def tokenize(self, texts: Sequence[str], settings: Embedder) -> list[Tokens]:
        texts = [settings.passage_instruction + text for text in texts]
        return token_ids(self.tokenizer, texts, settings.max_length, special=True)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Vectors float32 [n, dimensions] of padded `input_ids` with their `attention_mask`."""
        import torch

        mask = inputs["attention_mask"]
        hidden = self.model(**inputs).last_hidden_state.float()
        if self.settings.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            pooled = (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.settings.normalize else pooled


@dataclass(frozen=True)
class TextWindow:
    """Some texts as token sequences."""

    texts: list[Tokens]
    padding: int
    lengths: NDArray[np.int64]

    def collate(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        rows = [self.texts[i] for i in index]
        return {
            "input_ids": pad(rows, self.padding),
            "attention_mask": pad([np.ones(len(row), np.int32) for row in rows], 0),
        }

    def sequences(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return rows

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        return batches


def text_window(model: EmbedderModel, texts: Sequence[str], settings: Embedder) -> TextWindow:
    sequences = model.tokenize(texts, settings)
    return TextWindow(sequences, model.tokenizer.pad_token_id, sizes(sequences))


@dataclass(frozen=True)
class Vectors:
    """Vectors float32 [rows, dimensions] as memory-mapped blocks in row order."""

    blocks: tuple[NDArray[np.float32], ...]

    def __len__(self) -> int:
        return sum(len(block) for block in self.blocks)

    @property
    def dimensions(self) -> int:
        return self.blocks[0].shape[1]

    @property
    def identity(self) -> str | None:
        """What their files' names, which are hashes of content, determine; None for vectors without files."""
        files = [getattr(block, "filename", None) for block in self.blocks]
        return None if None in files else identity({"blocks": [Path(str(file)).name for file in files]})

    def array(self) -> NDArray[np.float32]:
        """All of them in memory; meant for queries."""
        return np.concatenate(self.blocks)


def block_name(keys: Keys) -> str:
    """A block is named by its texts, in order."""
    return hashlib.sha256(keys.tobytes()).hexdigest()


def stretches(rows: int) -> Iterator[NDArray[np.int64]]:
    """The row numbers of each block."""
    size = BLOCK if rows > SMALL_CORPUS else min(BLOCK, SMALL_BLOCK)
    return (np.arange(start, min(start + size, rows)) for start in range(0, rows, size))


def finished(folder: Path, name: str) -> bool:
    return any(folder.glob(f"{name}-*.npy"))


@dataclass
class Embedding:
    """One embedder at work on one machine; its model is loaded when a vector is missing, not before."""

    settings: Embedder
    hardware: Hardware
    cache_dir: Path
    budget: Budget
    reuse: bool = True
    executor: Executor = field(default_factory=Local)

    def __post_init__(self) -> None:
        from rerankbench.loop import Meter

        self.weights = models.resolve(self.settings.model, self.settings.revision, self.cache_dir)
        if problems := self.settings.length_problems(models.describe(self.weights.folder)["positions"]):
            raise UserError(problems)
        self.meter: Meter = Meter()
        self._model: EmbedderModel | None = None

    @property
    def model(self) -> EmbedderModel:
        if self._model is None:
            self._model = EmbedderModel(self.settings, self.weights, self.hardware)
        return self._model

    def identity(self) -> dict[str, Any]:
        """What determines candidates found with this embedder, texts apart."""
        passages = self.settings.identity(self.weights, self.hardware.precision)
        queries = self.settings.for_queries().identity(self.weights, self.hardware.precision)
        return {"passages": passages, "queries": queries}

    def passages(self, texts: Texts, rows: int) -> Vectors:
        return self.embed(self.settings, texts, rows, "embedding")

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        settings = self.settings.for_queries()
        return self.embed(settings, lambda rows: [texts[row] for row in rows], len(texts), "queries").array()

    def vector(self, query: str) -> NDArray[np.float32]:
        """One query's vector [1, dimensions], computed now: what a service does for each request."""
        import torch

        from rerankbench.loop import to_device

        window = text_window(self.model, [query], self.settings.for_queries())
        with torch.inference_mode():
            inputs = to_device(window.collate(np.arange(1)), self.hardware.device)
            return self.model.forward(inputs).cpu().numpy()

    def embed(self, settings: Embedder, texts: Texts, rows: int, title: str) -> Vectors:
        """Vectors of `rows` texts, block by block; finished blocks are read, the rest computed."""
        parts = settings.identity(self.weights, self.hardware.precision)
        RowStore(self.folder(settings), {"label": self.weights.label, **parts}).describe()
        with Progress(title, rows, "texts") as progress:
            return Vectors(tuple(self.executor.embed(self, settings, texts, rows, progress)))

    def folder(self, settings: Embedder) -> Path:
        """Where the blocks of these settings are."""
        return self.cache_dir / "vectors" / identity(settings.identity(self.weights, self.hardware.precision))

    def missing(self, texts: Texts, rows: int) -> int:
        """How many of `rows` passages are in blocks that are not finished."""
        folder = self.folder(self.settings)
        names = ((len(block), block_name(text_keys(texts(block)))) for block in stretches(rows))
        return sum(size for size, name in names if not finished(folder, name))

    def block(self, settings: Embedder, texts: Sequence[str], progress: Progress) -> NDArray[np.float32]:
        """One block, named by its texts: read if whole, continued if begun."""
        folder, keys = self.folder(settings), text_keys(texts)
        name = block_name(keys)
        block = read_array(folder, name) if self.reuse else None
        if block is None:
            folder.mkdir(parents=True, exist_ok=True)
            with hold(folder / f"{name}{SUFFIX}", "embedding"):
                block = read_array(folder, name) if self.reuse else None
                if block is None:
                    parts = settings.identity(self.weights, self.hardware.precision)
                    return self.compute(
                        settings, RowStore(folder / f"{name}.part", parts), texts, keys, progress
                    )
        progress.advance(len(texts))
        return block

    def compute(
        self, settings: Embedder, store: RowStore, texts: Sequence[str], keys: Keys, progress: Progress
    ) -> NDArray[np.float32]:
        """Embed what `store` lacks, then write the block whole and drop the parts."""
        from rerankbench.loop import Loop, fill

        distinct, place = np.unique(keys, return_inverse=True)
        columns = range(self.model.dimensions)
        values, found = store.lookup(distinct, columns)
        row_of = np.empty(len(distinct), np.int64)
        row_of[place] = np.arange(len(keys))

        def prepare(numbers: NDArray[np.int64]) -> TextWindow:
            return text_window(self.model, [texts[row_of[n]] for n in numbers], settings)

        loop = Loop(self.model.forward, self.hardware, self.budget, self.meter, self.hardware.streams)
        progress.advance(len(keys) - int((~found).sum()))
        fill(store, distinct, columns, np.arange(len(distinct)), WINDOW, prepare, loop, progress, found)
        values, found = store.lookup(distinct, columns)
        name = store.folder.stem
        if found.all():  # else somebody who took this block over has finished it and dropped the parts
            write_array(store.folder.parent, name, values[place])
        shutil.rmtree(store.folder, ignore_errors=True)
        block = read_array(store.folder.parent, name)
        if block is None:
            raise UserError(
                f"{store.folder.parent}: vectors are gone, as if files were removed or damaged while they "
                "were computed; the same command computes them again"
            )
        return block
