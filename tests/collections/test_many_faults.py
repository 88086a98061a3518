"""Hundreds of faults of a few kinds are a few lines, whatever they show and however the file is read."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import read_judgements
from rerankbench.collections.reading.layout import DOCUMENTS, JUDGEMENTS
from rerankbench.collections.reading.records import read_records
from rerankbench.collections.reading.rows import new_log, read_rows

COUNT = 300
# Values that show in many ways: quotes of both kinds, brackets in brackets, cut short, numbers of all forms.
VALUES = [
    "it's",
    'say "x"',
    "a'b\"c",
    "x" * 500,
    "'",
    "1.5e-3",
    "-7.25",
    "nan",
    "0x1f",
    "[1, [2]]",
    "é\\u",
    "}",
]


def told(path: Path, read: Callable[[FileLog], object]) -> list[str]:
    log = new_log(path)
    read(log)
    assert log.count == COUNT
    return log.problems()


def grades(path: Path) -> list[str]:
    return told(path, lambda log: read_judgements(read_rows(path, JUDGEMENTS, log), log))


def lines(row: Callable[[int], str]) -> str:
    return "".join(row(number) + "\n" for number in range(COUNT))


def value(number: int) -> str:
    return f"{VALUES[number % len(VALUES)]}{number}"


@pytest.mark.parametrize("ending", ["tsv", "jsonl", "parquet"])
def test_wrong_grades_are_one_line(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"qrels.{ending}"
    if ending == "parquet":
        columns = {
            "qid": ["q"] * COUNT,
            "docno": [f"d{n}" for n in range(COUNT)],
            "rel": [*map(value, range(COUNT))],
        }
        pq.write_table(pa.table(columns), file)
    elif ending == "jsonl":
        file.write_text(lines(lambda n: json.dumps({"qid": "q", "docno": f"d{n}", "rel": value(n)})))
    else:
        head = "query-id\tcorpus-id\tscore\n"
        file.write_text(head + lines(lambda n: f"q\td{n}\t{value(n)}"))
    (line,) = grades(file)
    assert f"(and {COUNT - 1} more of this kind: " in line


def test_lists_and_objects_in_place_of_texts_are_one_line_for_each_type(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    odd: list[object] = [[1, [2, "]"]], {"a": {"b": "}"}}, 3.5, True, None]
    file.write_text(lines(lambda n: json.dumps({"_id": f"d{n}", "text": odd[n % len(odd)]})))

    def read(log: FileLog) -> None:
        for _ in read_records(read_rows(file, DOCUMENTS, log), log, array("q")):
            pass

    found = told(file, read)
    assert len(found) == len(odd)
    assert all("more of this kind" in line for line in found)


def test_bytes_that_are_no_text_and_widths_are_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv"
    odd = bytes([0xE4, 0xE9, 0xFC, 0xDF])
    file.write_bytes(b"".join(b"q\td%d\t%c\n" % (n, odd[n % 4]) for n in range(COUNT)))
    assert len(grades(file)) == 1
    file.write_text("q\td\t1\n" + lines(lambda n: "\t".join(["q", f"d{n}", "1"] + ["x"] * (n % 7 + 1))))
    assert len(grades(file)) == 1
