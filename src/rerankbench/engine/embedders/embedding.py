"""Embeddings: texts to unit vectors, each distinct text once, kept under what determines them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rerankbench.basics.arrays import Digests, Floats, Ints
from rerankbench.basics.progress import Progress
from rerankbench.engine.embedders.embedder import Embedder, EmbedderModel
from rerankbench.engine.embedders.vector_ties import differing
from rerankbench.engine.embedders.vectors import Vectors, block_name, finished, stretches, tokens_name, whole
from rerankbench.engine.executors.executor import Executor
from rerankbench.engine.executors.job import Job
from rerankbench.engine.executors.local import Local
from rerankbench.engine.executors.worker import Worker
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import computed_by, references
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.store.lock import SUFFIX, hold
from rerankbench.engine.store.rows import RowStore, identity, pair_keys, read_array, text_keys, write_array
from rerankbench.engine.tokens import Tokens, token_digests

if TYPE_CHECKING:
    from rerankbench.engine.loop import Budget, Meter, Window
WINDOW = 8192  # texts that are tokenized and sorted together
Texts = Callable[[Ints], Sequence[str]]  # row numbers to texts


@dataclass
class Embedding:
    """One embedder at work on one machine; its model is loaded when a vector is missing, not before."""

    settings: Embedder
    hardware: Hardware
    cache_dir: Path
    budget: Budget
    reuse: bool = True
    executor: Executor = field(default_factory=Local)
    at_hand: references.Weights | None = None  # those of the settings' model, where they were found before

    several: ClassVar[bool] = False  # whether a text may have more vectors than one

    def __post_init__(self) -> None:
        from rerankbench.engine.loop import Meter

        if self.at_hand is None:
            self.settings, self.weights = self.settings.resolved(self.cache_dir)
        else:
            self.settings, self.weights = self.settings.following(self.at_hand), self.at_hand
        self.meter: Meter = Meter()

    @cached_property
    def model(self) -> EmbedderModel:
        return self.settings.load(self.weights, self.hardware)

    def load(self) -> None:
        """Load the model now; else the first text waits for it, and for what its file holds then."""
        assert self.model is not None

    def take_over(self, other: Embedding) -> None:
        """Use what `other` has loaded, which is the same model."""
        self.model = other.model

    @cached_property
    def reader(self) -> EmbedderModel:
        """What tokenizes: the model, or one without weights where only other processes load them."""
        if "model" in vars(self) or not self.executor.elsewhere:
            return self.model
        with without_values():
            return self.settings.load(self.weights, replace(self.hardware, device="meta"))

    def identity(self) -> dict[str, Any]:
        """What determines candidates found with this embedder, texts apart."""
        return {"passages": self.parts(self.settings), "queries": self.parts(self.settings.for_queries())}

    def parts(self, settings: Embedder) -> dict[str, Any]:
        """Everything besides its text that determines a vector on this hardware, as plain values."""
        return settings.identity(self.weights, self.hardware.precision) | self.operators

    @cached_property
    def operators(self) -> dict[str, str]:
        return self.settings.operators(self.weights, self.hardware)

    def passages(self, texts: Texts, rows: int) -> Vectors:
        return self.embed(self.settings, texts, rows, "embedding")

    def queries(self, texts: Sequence[str]) -> Floats:
        settings = self.settings.for_queries()
        return self.embed(settings, lambda rows: [texts[row] for row in rows], len(texts), "queries").array()

    def vector(self, query: str) -> Floats:
        """One query's vector [1, dimensions], computed now: what a service does for each request."""
        import torch

        from rerankbench.engine.loop import to_device

        window = self.model.read([query], self.settings.for_queries())
        with torch.inference_mode():
            inputs = to_device(window.collate(np.arange(1)), self.hardware.device)
            return self.model.forward(inputs).cpu().numpy()

    def embed(self, settings: Embedder, texts: Texts, rows: int, title: str) -> Vectors:
        """Vectors of `rows` texts, block by block; finished blocks are read, the rest computed."""
        RowStore(self.folder(settings), {"label": self.weights.label, **self.parts(settings)}).describe()
        with Progress(title, rows, "texts") as progress:
            job = EmbeddingJob(self, settings, texts, self.cuts(settings, texts, rows))
            self.executor.compute(job, progress)
        return Vectors(tuple(self.tied(settings, texts, rows, job.blocks())))

    def cuts(self, settings: Embedder, texts: Texts, rows: int) -> list[Ints]:
        """The row numbers of each block."""
        return list(stretches(rows))

    def computed(self, settings: Embedder, texts: list[Tokens]) -> list[Floats]:
        """The vectors of each token sequence, [vectors, dimensions], computed now; nothing is stored."""
        from rerankbench.engine.loop import Loop

        started, model = time.perf_counter(), self.model
        loop = Loop(model.forward, self.hardware, self.budget, self.meter, self.hardware.streams)
        found = [np.empty((0, 0), np.float32)] * len(texts)
        for index, values in loop.run(model.window(texts, settings)) if texts else ():
            for place, one in zip(index.tolist(), values, strict=True):
                found[place] = model.matrix(one, texts[place], settings)
        self.meter.seconds += time.perf_counter() - started
        return found

    def tied(self, settings: Embedder, texts: Texts, rows: int, blocks: list[Floats]) -> list[Floats]:
        """The blocks with one vector for texts that are the same tokens; where that changes one, it is
        written anew."""
        if len(blocks) < 2:
            return blocks
        names = [Path(str(getattr(block, "filename", ""))).stem.rpartition("-")[0] for block in blocks]
        folder, digests = self.folder(settings), []
        for name, stretch in zip(names, stretches(rows), strict=True):
            stored = read_array(folder, tokens_name(name))
            digests.append(self.digests(settings, name, texts(stretch)) if stored is None else stored)
        for number, block in differing(blocks, np.concatenate(digests)).items():
            with hold(folder / f"{names[number]}{SUFFIX}", "embedding"):
                write_array(folder, names[number], block)
            blocks[number] = whole(folder, names[number])
        return blocks

    def digests(self, settings: Embedder, name: str, texts: Sequence[str]) -> Digests:
        """What tells the token sequences of a block apart, kept beside it."""
        found = token_digests(self.model.tokenize(texts, settings))
        write_array(self.folder(settings), tokens_name(name), found)
        return found

    def folder(self, settings: Embedder) -> Path:
        """Where the blocks of these settings are."""
        return self.cache_dir / "vectors" / identity(self.parts(settings))

    def missing(self, texts: Texts, rows: int) -> int:
        """How many of `rows` passages are in blocks that are not finished."""
        folder = self.folder(self.settings)
        names = ((len(block), block_name(text_keys(texts(block)))) for block in stretches(rows))
        return sum(size for size, name in names if not finished(folder, name))

    def block(self, settings: Embedder, texts: Sequence[str], progress: Progress) -> Floats:
        """One block, named by its texts: read if whole, continued if begun."""
        folder, name = self.folder(settings), block_name(text_keys(texts))
        block = read_array(folder, name) if self.reuse else None
        if block is None:
            folder.mkdir(parents=True, exist_ok=True)
            with hold(folder / f"{name}{SUFFIX}", "embedding"):
                block = read_array(folder, name) if self.reuse else None
                if block is None:
                    part = RowStore(folder / f"{name}.part", self.parts(settings))
                    return self.compute(settings, part, texts, progress)
        progress.advance(len(texts))
        return block

    def compute(
        self, settings: Embedder, store: RowStore, texts: Sequence[str], progress: Progress
    ) -> Floats:
        """Embed what `store` lacks, each token sequence once, then write the block and drop the parts."""
        from rerankbench.engine.loop import Loop, fill

        folder, name = store.folder.parent, store.folder.stem
        tokens = self.model.tokenize(texts, settings)
        digests = token_digests(tokens)
        keys = pair_keys(digests, np.zeros_like(digests))
        distinct, first, place = np.unique(keys, return_index=True, return_inverse=True)
        columns = range(self.model.dimensions)
        values, found = store.lookup(distinct, columns)

        def prepare(numbers: Ints) -> Window:
            return self.model.window([tokens[row] for row in first[numbers].tolist()], settings)

        loop = Loop(self.model.forward, self.hardware, self.budget, self.meter, self.hardware.streams)
        progress.advance(len(keys) - int((~found).sum()))
        fill(store, distinct, columns, found, WINDOW, prepare, loop, progress)
        values, found = store.lookup(distinct, columns)
        if found.all():  # else somebody who took this block over has finished it and dropped the parts
            if read_array(folder, tokens_name(name)) is None:  # or damaged, and set aside by now
                write_array(folder, tokens_name(name), digests)
            write_array(folder, name, values[place])
        shutil.rmtree(store.folder, ignore_errors=True)
        return whole(folder, name)


class EmbeddingWorker(Worker):
    """Embeds blocks of texts into the store."""

    def __init__(
        self,
        kind: type[Embedding],
        own: Embedder,
        settings: Embedder,
        cache_dir: Path,
        budget: Budget,
        reuse: bool,
        machine: Hardware,
        operators: dict[str, str],
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        here = replace(machine, device=self.device)
        self.embedding = kind(own, here, cache_dir, replace(budget), reuse)
        self.settings, self.asked = settings, operators

    def load(self) -> float:
        started = time.perf_counter()
        computed_by.refuse_others(self.embedding.weights.label, self.embedding.operators, self.asked)
        self.embedding.model  # noqa: B018
        return time.perf_counter() - started

    def work(self, task: Sequence[str], again: bool) -> Meter:
        from rerankbench.engine.loop import Meter

        with self.computing:
            self.embedding.meter = Meter()
            # what an earlier attempt finished is as good as new
            self.embedding.reuse = self.embedding.reuse or again
            self.embedding.block(self.settings, task, Progress("embedding", len(task), "texts"))
            return self.embedding.meter


class EmbeddingJob(Job):
    """The blocks of texts, cut by `cuts`; those that are stored, or computed here, are held memory-mapped."""

    worker, items = EmbeddingWorker, "texts"

    def __init__(self, embedding: Embedding, settings: Embedder, texts: Texts, cuts: list[Ints]) -> None:
        self.embedding, self.settings, self.texts, self.cuts = embedding, settings, texts, cuts
        self.meter, self.device = embedding.meter, embedding.hardware.device
        self.held: dict[int, Floats] = {}
        self.names: dict[int, str] = {}

    def here(self, progress: Progress) -> None:
        for stretch in self.cuts:
            self.held[int(stretch[0])] = self.embedding.block(self.settings, self.texts(stretch), progress)

    def stretches(self, progress: Progress) -> list[Ints]:
        """The blocks that are not stored, or damaged, and set aside by now."""
        todo, folder = [], self.embedding.folder(self.settings)
        for stretch in self.cuts:
            name = self.names[int(stretch[0])] = block_name(text_keys(self.texts(stretch)))
            block = read_array(folder, name) if self.embedding.reuse else None
            if block is None:
                todo.append(stretch)
            else:
                self.held[int(stretch[0])] = block
                progress.advance(len(stretch))
        return todo

    def missing(self, stretch: Ints) -> int:
        return len(stretch)

    def task(self, stretch: Ints) -> Sequence[str]:
        return self.texts(stretch)

    def hiring(self) -> tuple[Any, ...]:
        e = self.embedding
        return type(e), e.settings, self.settings, e.cache_dir, e.budget, e.reuse, e.hardware, e.operators

    def blocks(self) -> list[Floats]:
        """All blocks in row order, once they are computed."""
        folder, found = self.embedding.folder(self.settings), []
        for stretch in self.cuts:
            start = int(stretch[0])
            block = self.held[start] if start in self.held else read_array(folder, self.names[start])
            if block is None:
                raise RuntimeError(
                    f"workers wrote no whole block: is {folder} on a disk that all machines share?"
                )
            found.append(block)
        return found
