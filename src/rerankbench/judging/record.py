"""What was judged, by whom and when: every answer is on the disk before the next question is shown.

`judgements.jsonl` has a line for every answer, undone ones too; lines are only ever added, each with one
write that is flushed to the disk: a process that is killed loses nothing, a torn last line is left out.
`qrels.txt` is what follows from it, for trec_eval and all else that reads qrels; it is replaced as a whole.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.engine.store import disk
from rerankbench.engine.store.rows import sync_folder, write_atomic
from rerankbench.judging.pool import Pair
from rerankbench.judging.qrels import MODEL, PERSON

JOURNAL, QRELS, NESTED = "judgements.jsonl", "qrels.txt", "qrels.json"
JUDGED, SKIPPED, UNCLEAR, UNDONE = "judged", "skipped", "cannot tell", "undone"
ANSWERS = (JUDGED, SKIPPED, UNCLEAR, UNDONE)
MOST_NOTE, MOST_GRADE = 2000, 1000
HIGHEST = 3  # of the usual grades


@dataclass(frozen=True)
class Answer:
    """One answer to "how relevant is this document to this query?".

    judge: `person:NAME` or `model:NAME`; answer: one of ANSWERS; grade: None unless it was judged, of 0 to
    `highest`. collection: the fingerprint of the one whose texts were shown, empty where it is not known.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    query_id: str
    doc_id: str
    judge: str
    answer: str
    grade: int | None = None
    note: str = ""
    at: str = ""
    highest: int = HIGHEST
    collection: str = ""

    @property
    def pair(self) -> Pair:
        return self.query_id, self.doc_id


ANSWER = TypeAdapter(Answer)


class Record:
    """The answers kept in a folder. Several processes may write to it, and threads read `latest` meanwhile:
    it is replaced, not changed.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError where the folder cannot be used, or holds what was not written here."""
        self.folder = folder
        self.latest: dict[tuple[Pair, str], Answer] = {}
        self._read = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.refuse_foreign()
            self.refresh()
        except OSError as error:
            raise UserError(f"{visible(str(folder))}: cannot be used ({error.strerror})") from None

    def refuse_foreign(self) -> None:
        """Judgements without a record of who gave them are somebody else's, and would be overwritten."""
        if (self.folder / JOURNAL).exists():
            return
        for path in (self.folder / QRELS, self.folder / NESTED):
            if path.exists() and path.stat().st_size:
                raise UserError(
                    f"{visible(str(path))}: was not written by rerankbench-judge, or its {JOURNAL} is gone; "
                    "choose another --folder, so that it is not overwritten"
                )

    def refresh(self) -> None:
        """Take in what was added, by other processes as well."""
        path = self.folder / JOURNAL
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole, latest = data[: data.rfind(b"\n") + 1], dict(self.latest)
        for line in whole.split(b"\n")[:-1]:
            if (answer := parsed(line)) is not None:
                latest.pop((answer.pair, answer.judge), None)  # the order is that of the last answers
                latest[answer.pair, answer.judge] = answer
            elif line.strip(b"\0 \r") and not line.startswith(b"{"):
                raise UserError(
                    f"{visible(str(path))}: this is not a record of judgements; choose another --folder"
                )
        self.latest, self._read = latest, self._read + len(whole)

    def add(self, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns. Raises OSError where the disk refuses it."""
        self.add_all([answer])

    def add_all(self, answers: list[Answer]) -> None:
        """Keep several answers at once."""
        if not answers:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps(asdict(a) | {"at": a.at or now}, ensure_ascii=False) + "\n" for a in answers]
        append(self.folder / JOURNAL, "".join(lines).encode("utf-8", "replace"))
        self.refresh()
        self.write_qrels()

    def of(self, judge: str) -> dict[Pair, Answer]:
        """A judge's answers that stand, in the order in which they were given."""
        return {pair: a for (pair, who), a in self.latest.items() if who == judge and a.answer != UNDONE}

    def judges(self) -> list[str]:
        return sorted({judge for (_, judge), answer in self.latest.items() if answer.answer == JUDGED})

    def graded_by_others(self, judge: str) -> frozenset[Pair]:
        """Pairs that somebody else than this judge graded."""
        found = self.latest.items()
        return frozenset(pair for (pair, who), each in found if who != judge and each.answer == JUDGED)

    @property
    def highest(self) -> int | None:
        """The highest grade that could be given; None where none was given yet."""
        return max((each.highest for each in self.latest.values() if each.answer == JUDGED), default=None)

    def grades(self) -> dict[Pair, tuple[int, str]]:
        """For each judged pair its grade and by whom: people before models, of several the lower middle."""
        given: dict[Pair, list[tuple[int, str]]] = {}
        for (pair, judge), answer in self.latest.items():
            if answer.answer == JUDGED and answer.grade is not None:
                given.setdefault(pair, []).append((answer.grade, judge))
        return {pair: settled(each) for pair, each in given.items()}

    def write_qrels(self) -> Path:
        """Replace the qrels by what the answers say; returns the file, JSON where ids hold white space.

        Again where another process added answers meanwhile: the last one that writes has seen them all.
        """
        read = -1
        while read != self._read:
            read, path = self._read, self.write_once()
            self.refresh()
        for other in {self.folder / QRELS, self.folder / NESTED} - {path}:
            other.unlink(missing_ok=True)
        return path

    def write_once(self) -> Path:
        grades = self.grades()
        ids = {part for pair in grades for part in pair}
        if all(len(part.split()) == 1 and part == part.strip() and part[0] != "\ufeff" for part in ids):
            lines = [f"{q} {judge} {d} {grade}\n" for (q, d), (grade, judge) in sorted(grades.items())]
            write_atomic(self.folder / QRELS, "".join(lines).encode())
            return self.folder / QRELS
        nested: dict[str, dict[str, int]] = {}
        for (query_id, doc_id), (grade, _) in sorted(grades.items()):
            nested.setdefault(query_id, {})[doc_id] = grade
        write_atomic(self.folder / NESTED, (json.dumps(nested, ensure_ascii=False, indent=0) + "\n").encode())
        return self.folder / NESTED


def settled(given: list[tuple[int, str]]) -> tuple[int, str]:
    """One grade of several, and whose it is."""
    people = [each for each in given if each[1].startswith(PERSON)]
    chosen = sorted(people or given)
    names = sorted({judge.partition(":")[2] for _, judge in chosen})
    kind = PERSON if people else MODEL
    return chosen[(len(chosen) - 1) // 2][0], kind + "+".join(names)


def append(path: Path, data: bytes) -> None:
    """Add to a file, and have it on the disk; a torn line of one that was killed is ended."""
    fresh = not path.exists()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            left = memoryview(b"\n" * torn + data)
            while left:  # a disk that is nearly full takes a part, and refuses the rest
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if fresh:
            sync_folder(path.parent)
    except OSError as error:
        raise disk.named(error, path) from error


def parsed(line: bytes) -> Answer | None:
    """One line of the journal; None where it is none, or was torn."""
    try:
        answer = ANSWER.validate_json(line, strict=True)
    except (ValueError, RecursionError):
        return None
    graded = answer.grade is not None and 0 <= answer.grade <= MOST_GRADE
    return answer if answer.answer in ANSWERS and graded == (answer.answer == JUDGED) else None


def beside(file: Path) -> Record | None:
    """The record that a file of judgements was written from; None where it is somebody else's."""
    ours = file.name in (QRELS, NESTED) and (file.parent / JOURNAL).is_file()
    return Record(file.parent) if ours else None


def judge_name(kind: str, name: str) -> str:
    """How a judge is written down: without white space, since it is a column of a TREC file.

    Raises UserError where nothing is left.
    """
    plain = visible("-".join(name.split()))[:60].replace("+", "-")
    if not plain:
        raise UserError(f"--judge {name!r}: give a name, such as --judge anna")
    return kind + plain
