"""Small collections written to disk for tests, in the formats that people bring."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Texts = Sequence[tuple[str, str, str]]  # id, title, text
Pairs = Sequence[tuple[str, str, int]]  # query id, document id, grade

CAPITALS: Texts = (
    ("007", "France", "Paris is the capital of France."),
    ("7", "Germany", "Berlin is the capital of Germany."),
    ("c", "", "柏林和巴黎都是首都。"),
    ("d", "Nothing", ""),
)
QUESTIONS: Texts = (("q1", "", "capital of France?"), ("q2", "", "首都"), ("q3", "", "never judged"))
GRADES: Pairs = (("q1", "007", 2), ("q1", "7", 0), ("q2", "c", 1), ("q2", "gone", 1))


def jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8", newline="")
    return path


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write rows as .csv, .tsv, .jsonl or .parquet, by the extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".jsonl":
            jsonl(path, [dict(zip(header, row, strict=True)) for row in rows])
        case ".parquet":
            pq.write_table(
                pa.table([list(column) for column in zip(*rows, strict=True)], names=list(header)), path
            )
        case ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([header, *rows])
        case ".tsv":
            lines = ("\t".join(map(str, row)) + "\n" for row in [header, *rows])
            path.write_text("".join(lines), encoding="utf-8", newline="")
        case _:
            raise ValueError(path)
    return path


def beir(
    folder: Path,
    documents: Texts = CAPITALS,
    queries: Texts = QUESTIONS,
    judgements: Pairs = GRADES,
    split: str = "test",
) -> Path:
    """A folder in BEIR's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    jsonl(folder / "corpus.jsonl", [{"_id": i, "title": title, "text": text} for i, title, text in documents])
    jsonl(folder / "queries.jsonl", [{"_id": i, "text": text} for i, _, text in queries])
    table(folder / "qrels" / f"{split}.tsv", ("query-id", "corpus-id", "score"), judgements)
    return folder
