"""Judgements of a file in any of the project's formats, and by whom they were made.

TREC's second column ("iteration", which no tool reads) says by whom: `person:anna`, `model:NAME`. In files
that do not say it, or say 0, it is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.collections.reading.judgements import read_judgements
from rerankbench.collections.reading.layout import JUDGEMENTS
from rerankbench.collections.reading.lines import suffix
from rerankbench.collections.reading.nested import read_pairs
from rerankbench.collections.reading.rows import column_problems, new_log
from rerankbench.collections.sources.source import file_problem
from rerankbench.judging.pool import Pair

PERSON, MODEL, UNKNOWN = "person:", "model:", "0"
TABLES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")  # everything else has TREC's columns


@dataclass(frozen=True)
class Qrels:
    """Grades by (query_id, doc_id), and by whom each was given where that is known."""

    grades: Mapping[Pair, int]
    judges: Mapping[Pair, str]

    def by(self, pairs: Iterable[Pair]) -> dict[str, int]:
        """How many of some pairs each judge judged, most first; `0`: not known by whom."""
        return dict(Counter(self.judges.get(pair, UNKNOWN) for pair in pairs).most_common())


def read(path: Path) -> Qrels:
    """The judgements of a file. Raises UserError with every fault."""
    if problem := file_problem(path, "--qrels"):
        raise UserError(problem)
    if suffix(path) != ".json" and (problems := column_problems(path, JUDGEMENTS)):
        raise UserError(problems)
    log = new_log(path)
    found = read_judgements(read_pairs(path, JUDGEMENTS, log), log)
    if problems := log.problems():
        raise UserError(problems)
    pairs = list(zip(found.query_ids.to_pylist(), found.doc_ids.to_pylist(), strict=True))
    return Qrels(dict(zip(pairs, found.grades.tolist(), strict=True)), judges_of(path))


def judges_of(path: Path) -> dict[Pair, str]:
    """By whom the judgements of a file in TREC's columns were made, where it says so."""
    if suffix(path) in TABLES:
        return {}
    rows = (line.split() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return {(row[0], row[2]): row[1] for row in rows if len(row) == 4 and row[1].startswith((PERSON, MODEL))}


def told(judges: Mapping[str, int]) -> str:
    """By whom judgements were made, in words: 60 by anna, 40 by the language model gpt-4o."""
    parts = []
    for judge, count in judges.items():
        if judge.startswith(PERSON):
            who = judge.removeprefix(PERSON) or "a person"
        elif judge.startswith(MODEL):
            who = f"the language model {judge.removeprefix(MODEL)}"
        else:
            parts.append(f"{count:,} whose judge is not named")
            continue
        parts.append(f"{count:,} by {visible(who)}")
    return ", ".join(parts)
