"""Embeddings: texts to unit vectors, each distinct text once, kept under what determines them."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import Problem, UserError
from rerankbench.basics.finding import shown
from rerankbench.basics.progress import Progress
from rerankbench.engine import models
from rerankbench.engine.executors import Executor
from rerankbench.engine.executors.job import Job
from rerankbench.engine.executors.local import Local
from rerankbench.engine.executors.worker import Worker
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import fit
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import parts, reading, take, with_its_tokens
from rerankbench.engine.models.model_config import CHECKED, DECODERS
from rerankbench.engine.models.model_files import has_code, own_code_problems
from rerankbench.engine.models.sentence_modules import Modules, modules_of
from rerankbench.engine.tokens import Tokens, pad, sizes, token_digests, token_ids
from rerankbench.first_stages.vector_ties import Copies, differing
from rerankbench.store.lock import SUFFIX, hold
from rerankbench.store.rows import (
    ARITHMETIC,
    Keys,
    RowStore,
    identity,
    pair_keys,
    read_array,
    text_keys,
    write_array,
)

if TYPE_CHECKING:
    from torch import Tensor

    from rerankbench.engine.loop import Budget, Meter

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
    query_instruction: text put in front of each query. passage_instruction: of each document.
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
        wrong = models.reference_problems(self.model, self.revision, self.trust_remote_code)
        found: list[str] = [Problem(f"embedder.{line}", "embedder.model", "place") for line in wrong]
        if not found:
            found += self.length_problems(models.positions(self.model))
        if not found and models.is_local(self.model):
            found += self.folder_problems(models.local_folder(self.model))
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

    def folder_problems(self, folder: Path) -> list[str]:
        """What a whole folder says of itself that contradicts these settings, or that is not supported."""
        config, place = json_object(folder / "config.json"), f"embedder.model={self.model}"
        (name, *_) = models.describe(folder)["architectures"] or [""]
        if name.endswith("ForSequenceClassification"):
            return [f"{place}: holds {name}, a reranker; give an embedder"]
        if config.get("is_encoder_decoder"):
            return [f"{place}: holds {name}, an encoder-decoder, which is not supported"]
        if config.get("model_type") in DECODERS and not (self.trust_remote_code and has_code(folder)):
            return [
                f"{place}: holds {name}, a decoder; those embed by their last token, which is not supported"
            ]
        found = own_code_problems(place, config, self.trust_remote_code)
        return found + contradictions(self, modules_of(folder))

    def notes(self, folder: Path) -> list[str]:
        """What people should know of these settings and the folder, and may have meant."""
        most = modules_of(folder).max_length
        if most is None or self.max_length <= most:
            return []
        return [
            f"embedder.max_length={self.max_length}: the folder's own limit is {most} tokens; "
            f"embedder.max_length={most} keeps to it"
        ]

    def fitted(self, folder: Path) -> Embedder:
        """These settings as the model in `folder` can follow them: what its vectors are stored under."""
        return replace(self, attention=usable(self.attention, folder, "AutoModel", self.trust_remote_code))

    def open(self, weights: models.Weights, hardware: Hardware, headers_only: bool = False) -> Any:
        """FlagEmbedding's wrapper around the model; with `headers_only`, without the weights' values."""
        from FlagEmbedding import FlagModel

        code = self.trust_remote_code
        with reading(weights.folder, hardware.dtype, self.attention, headers_only, code) as place:
            wrapper = FlagModel(
                place,
                use_fp16=False,
                pooling_method=self.pooling,
                devices=hardware.device,
                trust_remote_code=self.trust_remote_code,
            )
        return with_its_tokens(wrapper, weights.folder)

    def rehearse(self, weights: models.Weights, hardware: Hardware) -> None:
        """Raise UserError for whatever would keep the model from being loaded and from embedding right."""
        _, tokenizer = parts(self.open(weights, hardware, headers_only=True))
        if modules_of(weights.folder).lower_case:
            upper, lower = token_ids(tokenizer, ["Some Words", "some words"], None, special=True)
            if upper.tolist() != lower.tolist():
                raise UserError(
                    f"{weights.folder}: sentence_bert_config.json turns texts to lower case, its tokenizer "
                    "does not; that is not supported"
                )
        if models.describe(weights.folder)["model_type"] not in CHECKED:
            try_out(EmbedderModel(self, weights, replace(hardware, device="cpu")), weights.folder)

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


# What BGE's English models were trained with before queries, and no other family.
OF_BGE = "Represent this sentence for searching relevant passages:"


def contradictions(settings: Embedder, folder: Modules) -> list[str]:
    """What sentence-transformers files of a folder say otherwise than `settings`, one line for all of it."""
    place, own = f"embedder.model={settings.model}", ("Transformer", "Pooling", "Normalize")
    if more := folder.besides(*own):
        return [f"{place}: its modules.json adds {', '.join(more)} to the model, which is not supported"]
    if len(folder.pooling) > 1 or {*folder.pooling} - {"cls", "mean"}:
        return [
            f"{place}: it pools by {' and '.join(folder.pooling)}, which is not supported; cls and mean are"
        ]
    if not folder.pools_prompts and (settings.query_instruction or settings.passage_instruction):
        return [f"{place}: it leaves instructions out when it pools, which is not supported"]
    said = otherwise(settings, folder)
    if not said:
        return []
    if folder.max_length is not None and settings.max_length > folder.max_length:
        said["max_length"] = (f"at most {folder.max_length} tokens", folder.max_length)
    differences = ", ".join(
        f"{why} where embedder.{key}={getattr(settings, key)}" for key, (why, _) in said.items()
    )
    cures = " ".join(f"'embedder.{key}={written(value)}'" for key, (_, value) in said.items())
    return [f"{place}: its own files say {differences}; set {cures}"]


def otherwise(settings: Embedder, folder: Modules) -> dict[str, tuple[str, Any]]:
    """(what the folder says, the value to set) by the setting's name, for each that differs."""
    found: dict[str, tuple[str, Any]] = {}
    pooling = folder.pooling[0] if folder.pooling else settings.pooling
    if pooling != settings.pooling:
        found["pooling"] = (f"pooling {pooling}", pooling)
    query, passage = folder.prompt("query"), folder.prompt("document", "passage", "corpus")
    if query and query != settings.query_instruction:
        found["query_instruction"] = (f"query prompt {query!r}", query)
    elif not query and "mean" in folder.pooling and settings.query_instruction.startswith(OF_BGE):
        found["query_instruction"] = ("no query prompt", "")
    if passage and passage != settings.passage_instruction:
        found["passage_instruction"] = (f"document prompt {passage!r}", passage)
    unit = folder.has("Normalize")
    if unit != settings.normalize and (unit or folder.similarity in ("dot", "euclidean", "manhattan")):
        found["normalize"] = ("unit vectors" if unit else "vectors as they are", unit)
    return found


def written(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, (bool, int)):
        return str(value).lower()
    return value if value.isalnum() else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class EmbedderModel:
    """A loaded embedder; vectors depend on each text alone."""

    def __init__(self, settings: Embedder, weights: models.Weights, hardware: Hardware) -> None:
        wrapper = settings.open(weights, hardware)
        first_only = settings.pooling == "cls"
        self.model, self.tokenizer = take(wrapper, hardware, first_only)
        self.settings = settings
        own, rows = self.tokenizer.pad_token_id, self.model.config.get_text_config().vocab_size
        self.padding: int = own if own is not None and own < rows else 0  # masked, so any token will do
        self.dimensions: int = self.model.config.get_text_config().hidden_size

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


def try_out(model: EmbedderModel, folder: Path) -> None:
    """Raise UserError where a model of a kind that is not tested here makes vectors of more than their text.

    A text alone, the same beside a longer one, and the longest that max_length allows.
    """
    import torch

    from rerankbench.engine.loop import to_device

    words = "it is this", "this is a longer text of several words, which is put beside a short one " * 400
    window = text_window(model, words, model.settings)
    longest = TextWindow([np.resize(window.texts[1], 16), *window.texts], model.padding, window.lengths)
    with torch.inference_mode():
        try:
            alone = model.forward(to_device(longest.collate(np.array([1])), "cpu"))
            together = model.forward(to_device(longest.collate(np.array([1, 0])), "cpu"))[:1]
            model.forward(to_device(longest.collate(np.array([2])), "cpu"))
        except Exception as error:  # whatever a model of any kind may raise
            reason = shown(" ".join(str(error).split()))
            raise UserError(
                f"{folder}: embedding with it fails ({type(error).__name__}: {reason}); a smaller "
                "embedder.max_length helps where it has too few positions"
            ) from error
    if not torch.isfinite(alone).all() or (alone - together).norm() > 0.05 * alone.norm():
        raise UserError(f"{folder}: its vector of a text depends on the texts beside it; it is not supported")


@dataclass(frozen=True)
class TextWindow:
    """Some texts as token sequences."""

    texts: list[Tokens]
    padding: int
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, model: EmbedderModel, texts: list[Tokens]) -> TextWindow:
        return cls(texts, model.padding, sizes(texts))

    def collate(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        rows = [self.texts[i] for i in index]
        return {
            "input_ids": pad(rows, self.padding),
            "attention_mask": pad([np.ones(len(row), np.int32) for row in rows], 0),
        }


def text_window(model: EmbedderModel, texts: Sequence[str], settings: Embedder) -> TextWindow:
    return TextWindow.of(model, model.tokenize(texts, settings))


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

    @cached_property
    def copies(self) -> Copies:
        """Which rows have the vector of an earlier one."""
        return Copies.among(self.blocks)

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


def tokens_name(name: str) -> str:
    """The name of what tells the token sequences of a block apart."""
    return f"{name}.tokens"


def whole(folder: Path, name: str) -> NDArray[np.float32]:
    """A block that was written a moment ago. Raises UserError where it is gone."""
    block = read_array(folder, name)
    if block is None:
        raise UserError(
            f"{folder}: vectors are gone, as if files were removed or damaged while they "
            "were computed; the same command computes them again"
        )
    return block


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
        from rerankbench.engine.loop import Meter

        self.settings, self.weights = fit.resolved(self.settings, self.cache_dir)
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

        from rerankbench.engine.loop import to_device

        window = text_window(self.model, [query], self.settings.for_queries())
        with torch.inference_mode():
            inputs = to_device(window.collate(np.arange(1)), self.hardware.device)
            return self.model.forward(inputs).cpu().numpy()

    def embed(self, settings: Embedder, texts: Texts, rows: int, title: str) -> Vectors:
        """Vectors of `rows` texts, block by block; finished blocks are read, the rest computed."""
        parts = settings.identity(self.weights, self.hardware.precision)
        RowStore(self.folder(settings), {"label": self.weights.label, **parts}).describe()
        with Progress(title, rows, "texts") as progress:
            job = EmbeddingJob(self, settings, texts, rows)
            self.executor.compute(job, progress)
        return Vectors(tuple(self.tied(settings, texts, rows, job.blocks())))

    def tied(
        self, settings: Embedder, texts: Texts, rows: int, blocks: list[NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
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

    def digests(self, settings: Embedder, name: str, texts: Sequence[str]) -> NDArray[np.bytes_]:
        """What tells the token sequences of a block apart, kept beside it."""
        found = token_digests(self.model.tokenize(texts, settings))
        write_array(self.folder(settings), tokens_name(name), found)
        return found

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
        folder, name = self.folder(settings), block_name(text_keys(texts))
        block = read_array(folder, name) if self.reuse else None
        if block is None:
            folder.mkdir(parents=True, exist_ok=True)
            with hold(folder / f"{name}{SUFFIX}", "embedding"):
                block = read_array(folder, name) if self.reuse else None
                if block is None:
                    parts = settings.identity(self.weights, self.hardware.precision)
                    return self.compute(settings, RowStore(folder / f"{name}.part", parts), texts, progress)
        progress.advance(len(texts))
        return block

    def compute(
        self, settings: Embedder, store: RowStore, texts: Sequence[str], progress: Progress
    ) -> NDArray[np.float32]:
        """Embed what `store` lacks, each token sequence once, then write the block and drop the parts."""
        from rerankbench.engine.loop import Loop, fill

        folder, name = store.folder.parent, store.folder.stem
        tokens = self.model.tokenize(texts, settings)
        digests = token_digests(tokens)
        keys = pair_keys(digests, np.zeros_like(digests))
        distinct, first, place = np.unique(keys, return_index=True, return_inverse=True)
        columns = range(self.model.dimensions)
        values, found = store.lookup(distinct, columns)

        def prepare(numbers: NDArray[np.int64]) -> TextWindow:
            return TextWindow.of(self.model, [tokens[row] for row in first[numbers].tolist()])

        loop = Loop(self.model.forward, self.hardware, self.budget, self.meter, self.hardware.streams)
        progress.advance(len(keys) - int((~found).sum()))
        fill(store, distinct, columns, np.arange(len(distinct)), WINDOW, prepare, loop, progress, found)
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
        own: Embedder,
        settings: Embedder,
        cache_dir: Path,
        budget: Budget,
        reuse: bool,
        machine: Hardware,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        here = replace(machine, device=self.device)
        self.embedding = Embedding(own, here, cache_dir, replace(budget), reuse)
        self.settings = settings

    def load(self) -> float:
        started = time.perf_counter()
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
    """The blocks of `rows` texts; those that are stored, or computed here, are held memory-mapped."""

    worker, items = EmbeddingWorker, "texts"

    def __init__(self, embedding: Embedding, settings: Embedder, texts: Texts, rows: int) -> None:
        self.embedding, self.settings, self.texts, self.rows = embedding, settings, texts, rows
        self.meter, self.device = embedding.meter, embedding.hardware.device
        self.held: dict[int, NDArray[np.float32]] = {}
        self.names: dict[int, str] = {}

    def here(self, progress: Progress) -> None:
        for stretch in stretches(self.rows):
            self.held[int(stretch[0])] = self.embedding.block(self.settings, self.texts(stretch), progress)

    def stretches(self, progress: Progress) -> list[NDArray[np.int64]]:
        """The blocks that are not stored, or damaged, and set aside by now."""
        todo, folder = [], self.embedding.folder(self.settings)
        for stretch in stretches(self.rows):
            name = self.names[int(stretch[0])] = block_name(text_keys(self.texts(stretch)))
            block = read_array(folder, name) if self.embedding.reuse else None
            if block is None:
                todo.append(stretch)
            else:
                self.held[int(stretch[0])] = block
                progress.advance(len(stretch))
        return todo

    def missing(self, stretch: NDArray[np.int64]) -> int:
        return len(stretch)

    def task(self, stretch: NDArray[np.int64]) -> Sequence[str]:
        return self.texts(stretch)

    def hiring(self) -> tuple[Embedder, Embedder, Path, Budget, bool, Hardware]:
        e = self.embedding
        return e.settings, self.settings, e.cache_dir, e.budget, e.reuse, e.hardware

    def blocks(self) -> list[NDArray[np.float32]]:
        """All blocks in row order, once they are computed."""
        folder, found = self.embedding.folder(self.settings), []
        for stretch in stretches(self.rows):
            start = int(stretch[0])
            block = self.held[start] if start in self.held else read_array(folder, self.names[start])
            if block is None:
                raise RuntimeError(
                    f"workers wrote no whole block: is {folder} on a disk that all machines share?"
                )
            found.append(block)
        return found
