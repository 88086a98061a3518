"""Relevance judgements of a file: flat query ids, document ids and grades, each value checked."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding, noticed, of_ids, shown
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.grade_words import GRADES, grade_word
from rerankbench.collections.reading.layout import LACKING, Row
from rerankbench.collections.reading.records import checked_id
from rerankbench.collections.unjudged import UNJUDGED

# "3" and "3.0", as tables write whole numbers; int() would also take "1_0" and digits of other scripts.
_ASSUMED = 1
_WHOLE = re.compile(r"[+-]?[0-9]{1,10}(\.0*)?")


@dataclass(frozen=True)
class Judgements:
    """query_ids, doc_ids: [judgements] strings; grades: [judgements] int32; no pair twice."""

    query_ids: pa.Array
    doc_ids: pa.Array
    grades: NDArray[np.int32]
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.grades)


def read_judgements(rows: Iterable[tuple[int, Row]], log: FileLog) -> Judgements:
    """Turn numbered rows (query id, document id, grade) into judgements in their order.

    Faulty rows are logged and left out, as are rows that contradict an earlier one. Without any grade each
    is 1; grades may all be yes or no; some with and some without, or words among numbers, are a fault.
    """
    query_ids: list[str] = []
    doc_ids: list[str] = []
    grades: array[int] = array("i")
    numbers: array[int] = array("q")
    assumed = rows_read = 0
    words: Counter[str] = Counter()
    for number, (query, document, grade) in rows:
        rows_read += 1
        query_id = checked_id(query, "query id", number, log)
        doc_id = checked_id(document, "document id", number, log)
        word = grade_word(grade)
        words.update([word] if word else [])
        value = _ASSUMED if grade is LACKING else GRADES[word] if word else _grade(grade, number, log)
        assumed += grade is LACKING
        if query_id is not None and doc_id is not None and value is not None:
            query_ids.append(query_id)
            doc_ids.append(doc_id)
            grades.append(value)
            numbers.append(number)
    if 0 < assumed < rows_read:
        what = f"{assumed:,} of {rows_read:,} judgements lack the grade that the others have"
        log.add(None, f"{what}: give it to each, or to none")
    if 0 < words.total() < rows_read:
        what = f"{words.total():,} of {rows_read:,} grades are words such as {shown(next(iter(words)))}"
        log.add(None, f"{what}: write all as numbers, or all as yes and no")
    judgements = distinct(query_ids, doc_ids, np.array(grades, np.int32), numbers, log)
    without = f"the file has no column of grades: each counts as grade {_ASSUMED}"
    meant = tuple(f"{shown(word)} is {GRADES[word]}" for word in sorted(words))
    findings = noticed(
        Finding("info", "judgements without a grade", assumed, (), without),
        Finding("info", "grades in words", words.total(), meant, "taken as 1 and 0"),
        *judgements.findings,
    )
    return replace(judgements, findings=tuple(findings))


def distinct(
    query_ids: list[str], doc_ids: list[str], grades: NDArray[np.int32], numbers: array[int], log: FileLog
) -> Judgements:
    """Keep the first judgement of each pair: repeating it is noted, contradicting it is a fault."""
    queries, documents = (pa.array(ids, pa.large_string()) for ids in (query_ids, doc_ids))
    first_of = first_of_pair(queries, documents)
    repeated = np.flatnonzero(first_of != np.arange(len(grades)))
    for row in repeated.tolist():
        first = int(first_of[row])
        if grades[first] != grades[row]:
            pair = f"query {shown(query_ids[row])}, document {shown(doc_ids[row])}"
            before = f"{grades[first]} in {log.unit} {numbers[first]}"
            log.add(numbers[row], f"{pair} has grade {grades[row]}, but {before}: keep one")
    kept = first_of == np.arange(len(grades))
    mask = pa.array(kept)
    again = [query_ids[row] for row in repeated.tolist()]
    findings = (of_ids("info", "judgements repeated", again, "each is counted once"),)
    return Judgements(queries.filter(mask), documents.filter(mask), grades[kept], findings)


def first_of_pair(queries: pa.Array, documents: pa.Array) -> NDArray[np.int64]:
    """For each (query, document) pair the position of the first equal pair."""
    codes = [array.dictionary_encode().indices.to_numpy().astype(np.int64) for array in (queries, documents)]
    keys = codes[0] * (len(queries) + 1) + codes[1]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse]


def _grade(value: object, number: int, log: FileLog) -> int | None:
    """A whole number that an int32 holds; None, and a fault, for everything else."""
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        log.add(number, f"the grade is {shown(value)}: it must be a whole number")
    elif not _WHOLE.fullmatch(str(value).strip()):
        log.add(number, f"the grade is {shown(value)}: it must be a whole number of at most ten digits")
    elif not UNJUDGED < (grade := int(float(value))) <= np.iinfo(np.int32).max:
        log.add(number, f"the grade {grade} is out of range: at most {np.iinfo(np.int32).max} either way")
    else:
        return grade
    return None
