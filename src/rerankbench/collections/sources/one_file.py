"""A whole collection in one file, as question answering and training data of frameworks are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from rerankbench.basics.finding import Finding, shown
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.cell_lists import csv_items
from rerankbench.collections.reading.conversion import Stored, table_of
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import read_judgements
from rerankbench.collections.reading.lines import suffix
from rerankbench.collections.reading.objects import ENDINGS, read_objects
from rerankbench.collections.reading.parquet import table_items
from rerankbench.collections.reading.rows import new_log
from rerankbench.collections.reading.shapes import listing
from rerankbench.collections.reading.shapes.gathered import Gathered
from rerankbench.collections.reading.shapes.listing import collection_shapes, collection_shapes_of
from rerankbench.collections.reading.shapes.shape import NONE, CollectionShape, Item
from rerankbench.collections.reading.tables import numeric_ids
from rerankbench.collections.sources.source import Source, given_problem

_PEEKED = 20
_KEYS_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class OneFile(Source):
    """path: a .json, .jsonl, .csv or .parquet file that holds queries, documents and judgements together.

    shape: how they are written: flag_embedding, llama_index_qa, ragas, squad or squad_articles; null: found
    by the first records. relevant_column: the list of ragas that holds what is relevant; null:
    reference_contexts; none: nobody knows yet, and runs show how much rerankers differ. Passages without ids
    are numbered from 0 as they first appear, queries likewise.
    """

    kind: ClassVar[str] = "one_file"

    path: str
    shape: str | None = None
    relevant_column: str | None = None

    @property
    def default_name(self) -> str:
        return self._file.resolve().name.partition(".")[0]

    def place_problems(self) -> list[str]:
        if problem := given_problem(self.path, "dataset.path"):
            return [problem]
        known = [shape.key for shape in collection_shapes()]
        if self.shape is not None and self.shape not in known:
            return [f"dataset.shape={self.shape}: choose one of {', '.join(known)}"]
        if suffix(self._file) not in (*ENDINGS, ".parquet", ".csv"):
            return [f"dataset.path={self._file}: give a .json, .jsonl, .csv or .parquet file"]
        log = new_log(self._file)
        first = [item for _, item in islice(self._items(log), _PEEKED)]
        if not first:
            return log.problems() or [f"{self._file}: holds no record: check the file"]
        return self._shape_problems(first) or self._relevant_problems(first)

    def read(self, cache_dir: Path) -> Parts:
        log = new_log(self._file)
        items = self._items(log)
        peeked = list(islice(items, _PEEKED))
        first = [item for _, item in peeked]
        shape, gathered = self._shape_of(first)[0], Gathered(log)
        relevant = self.relevant_column or shape.relevant_column(first)
        shape.gather(_fitting(shape, chain(peeked, items), log), gathered, relevant)
        judgements = None if relevant == NONE else read_judgements(gathered.judgements, log)
        documents, queries = (table_of(rows, log) for rows in (gathered.documents, gathered.queries))
        what = f"queries of {self._file.name} read as {shape.name}"
        taken = Finding("info", what, len(queries), (), f"dataset.shape={shape.key} says so")
        return Parts(
            documents=Stored(documents),
            queries=queries,
            judgements=judgements,
            logs=[log] * 3,
            findings=(taken, *numeric_ids([log])),
        )

    def places(self) -> tuple[str, ...]:
        return ("path",)

    def settled(self) -> OneFile:
        first = [item for _, item in islice(self._items(new_log(self._file)), _PEEKED)]
        shape = self._shape_of(first)[0]
        relevant = self.relevant_column or shape.relevant_column(first)
        return replace(self, shape=shape.key, relevant_column=relevant)

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser()

    def _items(self, log: FileLog) -> Iterator[tuple[int, Item]]:
        if suffix(self._file) == ".parquet":
            return table_items(self._file, log)
        if suffix(self._file) == ".csv":
            return csv_items(self._file, listing.list_columns(), log)
        return read_objects(self._file, lambda item: bool(collection_shapes_of([item])), log, _is_table)

    def _shape_of(self, first: list[Item]) -> list[CollectionShape]:
        """The shapes that the first records may have: one where all is well."""
        if self.shape is not None:
            return [shape for shape in collection_shapes() if shape.key == self.shape]
        return collection_shapes_of(first)

    def _shape_problems(self, first: list[Item]) -> list[str]:
        shapes = self._shape_of(first)
        if len(shapes) > 1:
            choices = " or ".join(f"dataset.shape={shape.key}" for shape in shapes)
            what = " or ".join(shape.name for shape in shapes)
            return [f"{self._file}: may be written as {what}; say which: {choices}"]
        if not shapes:
            known = "; ".join(f"{shape.name} have {shape.told}" for shape in collection_shapes())
            keys = ", ".join(shown(key, 40) for key in list(first[0])[:_KEYS_SHOWN])
            files = "write one of these, or three files: dataset=files"
            return [
                f"{self._file}: holds no collection of a known shape, its keys are {keys}; {known}; {files}"
            ]
        return []

    def _relevant_problems(self, first: list[Item]) -> list[str]:
        problem = self._shape_of(first)[0].relevant_problem(first, self.relevant_column)
        given = f"dataset.relevant_column={self.relevant_column}"
        return [f"{given if self.relevant_column else self._file}: {problem}"] if problem else []


def _is_table(item: Item) -> bool:
    """Whether an object holds columns of values: one list has articles, several are as long as each other."""
    return len(item) > 1 and all(isinstance(value, list) for value in item.values())


def _fitting(
    shape: CollectionShape, items: Iterator[tuple[int, Item]], log: FileLog
) -> Iterator[tuple[int, Item]]:
    """The records that have what the shape asks for; the others are faults."""
    for number, item in items:
        if shape.fits(item):
            yield number, item
        else:
            log.add(number, f"is none of {shape.name}: has {shown(list(item))}, not {shape.told}")
