"""Judging one sweep: which pairs are next, what was answered, where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.judging import spreadsheet
from rerankbench.judging.choice import next_pairs
from rerankbench.judging.forecast import left
from rerankbench.judging.lists import Lists, lists
from rerankbench.judging.pool import Pair
from rerankbench.judging.qrels import PERSON
from rerankbench.judging.record import JUDGED, Record, judge_name
from rerankbench.judging.texts import Texts, texts_of
from rerankbench.judging.verdict import State, state
from rerankbench.report import runs as finding
from rerankbench.report.runs import Run

FOLDER = "judging"
DELTA = 0.01
MOST = 100_000


@dataclass
class Session:
    """runs: of the sweep; record: the answers; judge: who answers now; pool: the ranks that are all to be
    judged, None where those pairs are chosen that can change the verdict; highest: the best grade."""

    runs: Sequence[Run]
    record: Record
    judge: str
    cutoff: int = 10
    pool: int | None = None
    highest: int = 3
    lists: Lists = field(init=False)

    def __post_init__(self) -> None:
        self.lists = lists(self.runs)

    @classmethod
    def of(
        cls,
        places: Sequence[str],
        folder: Path | None,
        judge: str,
        cutoff: int,
        pool: int | None,
        highest: int,
    ) -> Session:
        """The session over folders of runs. Raises UserError."""
        found = finding.find([Path(place) for place in places])
        where = folder or Path(places[0]) / FOLDER
        return cls(found, Record(where), judge_name(PERSON, judge), pool or cutoff, pool, highest)

    @cached_property
    def texts(self) -> Texts:
        return texts_of(self.runs)

    @property
    def grades(self) -> dict[Pair, int]:
        return {pair: grade for pair, (grade, _) in self.record.grades().items()}

    def state(self) -> State:
        return state(self.lists, self.grades, self.cutoff, DELTA, self.highest)

    def next(self, count: int) -> list[Pair]:
        """The pairs to judge next, those that matter most first; none where all is settled or judged."""
        passed = frozenset(
            pair for pair, answer in self.record.of(self.judge).items() if answer.answer != JUDGED
        )
        at = self.state()
        if self.pool is None:
            return next_pairs(at.standing, at.beliefs, count, passed)
        every = (
            (query_id, doc_id)
            for query, query_id in enumerate(at.pool.query_ids)
            for column, doc_id in enumerate(at.pool.pairs[query])
            if at.pool.open[query, column]
        )
        return [pair for pair in every if pair not in passed][:count]

    def export(self, path: Path, count: int | None) -> list[str]:
        """Write pairs to judge; as many as are likely to be needed, unless `count` says how many."""
        at = self.state()
        needed = MOST if self.pool else left(at.standing, at.beliefs)[0]
        pairs = self.next(count or needed)
        if not pairs:
            return ["nothing is left to judge; rerankbench-report shows the verdict"]
        try:
            spreadsheet.write(path, pairs, self.texts)
        except OSError as error:
            raise UserError(f"--export {path}: cannot be written ({error.strerror})") from None
        return [f"wrote      {len(pairs):,} pairs to {path}: fill in grade (0 to {self.highest}, or ?)"]

    def take_in(self, path: Path) -> list[str]:
        """Keep the grades of a file."""
        known = [
            (query_id, doc_id)
            for query_id, documents in zip(self.lists.query_ids, self.lists.documents, strict=True)
            for doc_id in documents
        ]
        found = spreadsheet.read(path, known, self.judge, self.highest)
        self.record.add_all(found.answers)
        judged = sum(answer.answer == JUDGED for answer in found.answers)
        rest = f", {found.empty:,} left empty" if found.empty else ""
        return [f"read       {judged:,} grades{rest}"]

    def lines(self) -> list[str]:
        """Where judging stands."""
        at = self.state()
        more, queries = left(at.standing, at.beliefs)
        leader = at.lists.arms[at.standing.leader].name
        settled = (
            f"settled    {leader} leads, and no other arm can be shown to be better"
            if not more
            else f"open       {leader} leads; judge about {more:,} more pairs of {queries:,} queries"
        )
        files = self.record.write_qrels()
        return [
            f"judged     {at.pool.judged:,} of {int(at.pool.wanted.sum()):,} pairs",
            settled,
            f"qrels      {files}",
        ]
