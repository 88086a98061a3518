"""A test collection: documents, the judged queries of one split, and their judgements.

Documents live in Arrow memory (memory-mapped when large) and are asked for by row number; no Python list or
dict ever holds the corpus. Texts and ids are kept exactly as the source gives them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding
from rerankbench.collections.unjudged import UNJUDGED

_BLOCK = 8192  # documents per block where the corpus is streamed: bounds memory whatever the batches are
_RELEASED_AT = 1024  # documents; the system maps up to 64 KB around each one that is read

_Column = Callable[[pa.RecordBatch], pa.Array]


class Corpus:
    """Documents in file order, Arrow-backed: row number <-> doc_id, texts on demand.

    table: columns `doc_id`, `text` and, if there are titles, `title`, of any Arrow string type, without nulls
    in the first two; ids are unique (`sources.conversion` checks both).
    join_titles: whether a document's text starts with its title.
    title_separator: what stands between the two when neither is empty.
    release: called now and then while rows are read, to let go of memory-mapped pages.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        join_titles: bool = True,
        title_separator: str = " ",
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._table = table
        self._join_titles = join_titles and "title" in table.column_names
        self._separator = title_separator
        self._batches: list[pa.RecordBatch] = table.to_batches()
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches], dtype=np.int64)
        self._ids = table.column("doc_id")
        self._release = release
        self._unreleased = 0

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def ids(self, rows: NDArray[np.int64] | None = None) -> list[str]:
        """The doc_ids of `rows`, or of the whole corpus in order. Raises IndexError for rows outside it."""
        if rows is None:
            return [doc_id for batch in self._batches for doc_id in batch.column("doc_id").to_pylist()]
        return self._gather(rows, _column("doc_id"))

    @property
    def id_column(self) -> pa.ChunkedArray:
        """All doc_ids in order as Arrow strings, for work on the whole corpus at once."""
        return self._ids

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """The texts of `rows`, titles joined in front if asked for. Raises IndexError for rows outside."""
        return self._gather(rows, self._joined)

    def parts(self, rows: NDArray[np.int64]) -> list[tuple[str, str]]:
        """The texts of `rows` as (title, text), the title empty where none is joined in front."""
        titles = self._gather(rows, _column("title")) if self._join_titles else [""] * np.size(rows)
        return list(zip((title or "" for title in titles), self._gather(rows, _column("text")), strict=True))

    def rows(self, doc_ids: Sequence[str] | pa.ChunkedArray) -> NDArray[np.int64]:
        """The row number of each id, -1 for ids that the corpus does not have."""
        kind = self._ids.type
        if not isinstance(doc_ids, pa.ChunkedArray):
            doc_ids = pa.chunked_array([pa.array(list(doc_ids), kind)])
        asked: pa.ChunkedArray = doc_ids.cast(kind)
        if len(asked) >= len(self):
            return pc.index_in(asked, value_set=self._ids).fill_null(-1).to_numpy().astype(np.int64)
        # Hash the smaller side: a few thousand asked ids instead of ten million documents.
        encoded = asked.combine_chunks().dictionary_encode()
        hits = pc.index_in(self._ids, value_set=encoded.dictionary).fill_null(-1).to_numpy()
        row_of = np.full(len(encoded.dictionary) + 1, -1, np.int64)
        held = np.flatnonzero(hits >= 0)
        row_of[hits[held]] = held
        return row_of[encoded.indices.fill_null(-1).to_numpy()]

    def blocks(self, size: int = _BLOCK) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Stream (doc_ids, joined texts) in order, at most `size` documents at a time."""
        for batch in self._batches:
            for start in range(0, batch.num_rows, size):
                block = batch.slice(start, size)
                yield block.column("doc_id").cast(pa.large_string()), self._joined(block)
                self._count_read(len(block))

    def select(self, rows: NDArray[np.int64]) -> Corpus:
        """The corpus of only these rows, in their order, held in memory."""
        names = [name for name in self._table.column_names if name in ("doc_id", "title", "text")]
        kept = {name: pa.array(self._gather(rows, _column(name)), pa.large_string()) for name in names}
        return Corpus(pa.table(kept), join_titles=self._join_titles, title_separator=self._separator)

    def digest(self) -> str:
        """sha256 over all ids and joined texts in order, whatever the storage; computed once, streamed."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # Bytes and lengths are hashed apart: together they determine every string, and Arrow holds the bytes
        # of a block side by side, so that no Python object per document is made.
        streams = [hashlib.sha256() for _ in range(4)]
        for ids, texts in self.blocks():
            for array, data, lengths in ((ids, streams[0], streams[1]), (texts, streams[2], streams[3])):
                content, sizes = _string_bytes(array)
                data.update(content)
                lengths.update(sizes)
        return hashlib.sha256(b"".join(stream.digest() for stream in streams)).hexdigest()

    def _count_read(self, rows: int) -> None:
        self._unreleased += rows
        if self._unreleased >= _RELEASED_AT:
            self._unreleased = 0
            self._release()

    def _joined(self, batch: pa.RecordBatch) -> pa.Array:
        text = batch.column("text").cast(pa.large_string())
        if not self._join_titles:
            return text
        title = pc.fill_null(batch.column("title").cast(pa.large_string()), "")
        no_title, no_text = pc.equal(title, ""), pc.equal(text, "")
        both = pc.binary_join_element_wise(title, text, pa.scalar(self._separator, pa.large_string()))
        return pc.if_else(no_title, text, pc.if_else(no_text, title, both))

    def _gather(self, rows: NDArray[np.int64], column: _Column) -> list[str]:
        """Take rows batch by batch: Arrow's own take joins all chunks of a string column in memory first."""
        wanted = np.asarray(rows, np.int64).ravel()
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a corpus of {len(self)} documents")
        out = np.empty(len(wanted), dtype=object)
        home = np.searchsorted(self._starts, wanted, side="right") - 1
        order = np.argsort(home, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(home[order])) + 1):
            if places.size:
                number = int(home[places[0]])
                local = pa.array(wanted[places] - self._starts[number])
                out[places] = column(self._batches[number].take(local)).to_pylist()
                self._count_read(places.size)
        return out.tolist()


SYNTHETIC = "synthetic-"  # how the ids of queries begin that a language model wrote


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Collection:
    """The corpus with the judged queries of one split, in file order; with all queries if none is judged.

    judged_query, judged_row, judged_grade: [judgements] flat, sorted by query number. judged_row is -1 for a
    document that the corpus does not have: it cannot be retrieved but still counts in the ideal.
    missing_ids: the doc_ids of exactly those judgements, in their order.
    relevance_threshold: the grade from which a document is relevant to binary measures (nDCG uses grades).
    drop_same_id: whether a candidate whose id equals the query's is removed (ArguAna asks for it).
    notes: one plain line for each thing counted while loading; `findings` are the same, structured.
    reduced: whether queries or documents were left out for a quick look; every output marks it.
    """

    name: str
    split: str
    corpus: Corpus
    query_ids: list[str]
    query_texts: list[str]
    judged_query: NDArray[np.int32]
    judged_row: NDArray[np.int64]
    judged_grade: NDArray[np.int32]
    relevance_threshold: int = 1
    drop_same_id: bool = False
    notes: tuple[str, ...] = ()
    reduced: bool = False
    missing_ids: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.judged_query) == len(self.judged_row) == len(self.judged_grade):
            raise ValueError("judged_query, judged_row and judged_grade must have one entry per judgement")
        if (np.diff(self.judged_query) < 0).any():
            raise ValueError("judgements must be sorted by query number")

    def __repr__(self) -> str:
        counts = (len(self.corpus), len(self.query_ids), len(self.judged_grade))
        sizes = "{:,} documents, {:,} judged queries, {:,} judgements".format(*counts)
        sizes = sizes if self.judged else "{:,} documents, {:,} queries, no judgements".format(*counts[:2])
        reduced = " (reduced: a quick look, not a result)" if self.reduced else ""
        return f"<Collection {self.name}, split {self.split}{reduced}: {sizes}>"

    @property
    def synthetic(self) -> int:
        """How many queries a language model wrote."""
        return sum(query_id.startswith(SYNTHETIC) for query_id in self.query_ids)

    @property
    def judged(self) -> bool:
        """Whether there is any judgement; where there is none, nothing can be measured."""
        return bool(len(self.judged_grade))

    def fingerprint(self) -> str:
        """sha256 over everything that decides a measure: texts, ids, judgements and the two options."""
        return self._fingerprint

    def grades(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The grade of each candidate: rows [Q, D] -> [Q, D], UNJUDGED for unknown pairs and for -1."""
        keys, grades = self._judgement_keys
        wanted = np.arange(len(rows), dtype=np.int64)[:, None] * (len(self.corpus) + 1) + rows
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = keys[at] == wanted if len(keys) else np.zeros(rows.shape, bool)
        return np.where(known, grades[at] if len(keys) else 0, np.int32(UNJUDGED)).astype(np.int32)

    def ideal(self) -> NDArray[np.int32]:
        """All grades of each query, best first: [Q, most judgements of a query], padded with UNJUDGED."""
        per_query = np.bincount(self.judged_query, minlength=len(self.query_ids))
        order = np.lexsort((-self.judged_grade.astype(np.int64), self.judged_query))
        firsts = np.cumsum(per_query) - per_query
        position = np.arange(len(order)) - np.repeat(firsts, per_query)
        out = np.full((len(self.query_ids), int(per_query.max(initial=0))), UNJUDGED, np.int32)
        out[self.judged_query, position] = self.judged_grade[order]
        return out

    def judged_ids(self) -> list[str]:
        """The doc_id of every judgement, in order; raises ValueError if missing_ids do not fit."""
        missing = np.flatnonzero(self.judged_row < 0)
        given = len(self.missing_ids)
        if len(missing) != given:
            raise ValueError(f"{len(missing)} judgements have no row, {given} missing_ids given")
        out = np.empty(len(self.judged_row), dtype=object)
        present = np.flatnonzero(self.judged_row >= 0)
        out[present] = self.corpus.ids(self.judged_row[present])
        out[missing] = self.missing_ids
        return out.tolist()

    @cached_property
    def _judgement_keys(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(query, row) of each judgement as one sorted number, and its grade.

        Queries are one more than the corpus apart, so that padding (row -1) meets no judgement.
        """
        present = self.judged_row >= 0
        keys = self.judged_query[present].astype(np.int64) * (len(self.corpus) + 1) + self.judged_row[present]
        order = np.argsort(keys, kind="stable")
        return keys[order], self.judged_grade[present][order]

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self.corpus.digest().encode())
        for strings in (self.query_ids, self.query_texts, self.missing_ids):
            for part in _string_bytes(pa.array(strings, pa.large_string())):
                digest.update(hashlib.sha256(part).digest())
        for numbers in (self.judged_query, self.judged_row, self.judged_grade):
            digest.update(hashlib.sha256(np.ascontiguousarray(numbers, "<i8").tobytes()).digest())
        digest.update(f"{self.relevance_threshold} {self.drop_same_id}".encode())
        return digest.hexdigest()


def _column(name: str) -> _Column:
    return lambda batch: batch.column(name)


def _string_bytes(array: pa.Array) -> tuple[memoryview, bytes]:
    """The bytes of all strings of a large_string array end to end, and each string's length as 8 bytes."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64, count=len(array) + 1, offset=8 * array.offset)
    content = memoryview(data or b"")[int(ends[0]) : int(ends[-1])]
    return content, np.diff(ends).astype("<i8").tobytes()
