"""Judging one sweep: which pairs are next, what was answered, where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rerankbench.basics.errors import UserError
from rerankbench.judging import spreadsheet
from rerankbench.judging.agreement import agreements, elsewhere
from rerankbench.judging.choice import next_pairs
from rerankbench.judging.forecast import left
from rerankbench.judging.lists import Lists, lists
from rerankbench.judging.pool import Pair, pool
from rerankbench.judging.record import HIGHEST, JUDGED, Answer, Record
from rerankbench.judging.texts import Texts, texts_of
from rerankbench.judging.verdict import State, state
from rerankbench.report.arms import runs as finding
from rerankbench.report.arms.runs import Run

FOLDER = "judging"
DELTA = 0.01
MOST = 100_000


@dataclass
class Session:
    """What one judge is asked, and what was answered so far.

    pool: the ranks that are all to be judged, None where those pairs are chosen that can change the verdict;
    check: how many pairs that others judged are to be judged again; highest: the best grade.
    """

    runs: Sequence[Run]
    record: Record
    judge: str
    cutoff: int = 10
    pool: int | None = None
    check: int = 0
    highest: int = HIGHEST
    lists: Lists = field(init=False)
    _copies: dict[str, dict[str, list[str]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.lists = lists(self.runs)
        self.collection = fingerprint(self.runs)

    @classmethod
    def of(
        cls,
        places: Sequence[str],
        folder: Path | None,
        judge: str,
        cutoff: int,
        pool: int | None,
        highest: int | None,
        check: int = 0,
    ) -> Session:
        """The session over folders of runs; `highest` None: of the grades that were given before.

        Raises UserError.
        """
        found = finding.find([Path(place) for place in places])
        record = Record(folder or Path(places[0]) / FOLDER)
        if None not in (highest, record.highest) and highest != record.highest:
            raise UserError(
                f"--highest {highest}: the grades in {record.folder} go from 0 to {record.highest}; leave "
                "--highest out, or choose another --folder"
            )
        return cls(found, record, judge, pool or cutoff, pool, check, highest or record.highest or HIGHEST)

    @cached_property
    def texts(self) -> Texts:
        return texts_of(self.runs)

    @property
    def grades(self) -> dict[Pair, int]:
        return {pair: grade for pair, (grade, _) in self.record.grades().items()}

    @property
    def judged(self) -> int:
        """How many pairs of these lists have a grade; where they are judged again, this judge's."""
        if not self.check:
            return len(self.known & self.grades.keys())
        mine = {pair for pair, each in self.record.of(self.judge).items() if each.answer == JUDGED}
        return len(self.record.graded_by_others(self.judge) & self.known & mine)

    def state(self) -> State:
        return state(self.lists, self.grades, self.cutoff, DELTA, self.highest)

    @property
    def plain(self) -> bool:
        """Whether all pairs of a list are to be judged, whatever they settle."""
        return bool(self.check) or self.pool is not None

    def next(self, count: int) -> list[Pair]:
        """The pairs to judge next, those that matter most first; none where all is settled or judged."""
        if self.plain:
            return self.listed()[:count]
        at = self.state()
        return next_pairs(at.standing, at.beliefs, count, self.passed())

    def answer(self, pair: Pair, answer: str, grade: int | None = None, note: str = "") -> Answer:
        """What this judge says of a pair."""
        return Answer(*pair, self.judge, answer, grade, note, "", self.highest, self.collection)

    def passed(self) -> frozenset[Pair]:
        """What this judge was asked and did not grade."""
        given = self.record.of(self.judge).items()
        return frozenset(pair for pair, answer in given if answer.answer != JUDGED)

    def listed(self) -> list[Pair]:
        """The pairs of a plain list that this judge has not answered: a pool's, or others' to be checked."""
        mine = set(self.record.of(self.judge))
        if self.check:
            others = self.record.graded_by_others(self.judge) & self.known
            left = max(0, self.check - len(others & mine))
            return sorted(others - mine, key=spreadsheet.name_of)[:left]  # as good as at random
        those = pool(self.lists, self.cutoff, self.grades)
        every = zip(*np.nonzero(those.open), strict=True)
        pairs = [(those.query_ids[query], those.pairs[query][column]) for query, column in every]
        return [pair for pair in pairs if pair not in mine]

    @cached_property
    def known(self) -> frozenset[Pair]:
        """Every pair that is in any list."""
        ids = zip(self.lists.query_ids, self.lists.documents, strict=True)
        return frozenset((query_id, doc_id) for query_id, documents in ids for doc_id in documents)

    def keep(self, answers: Sequence[Answer]) -> None:
        """Keep answers, each also for the documents that read the same and have none of this judge yet."""
        found = {answer.pair: answer for answer in answers}
        mine = self.record.of(self.judge)
        for answer in answers:
            for pair in self.copies(answer.pair):
                if pair not in mine:
                    found.setdefault(pair, replace(answer, doc_id=pair[1]))
        self.record.add_all(list(found.values()))

    def copies(self, pair: Pair) -> list[Pair]:
        """The pairs of a query's lists with the same text, this one among them; a judge is asked for one."""
        query_id, doc_id = pair
        if query_id not in self._copies:
            listed = dict(zip(self.lists.query_ids, self.lists.documents, strict=True)).get(query_id, ())
            groups: list[list[str]] = []
            with suppress(UserError):  # a spreadsheet is read where its collection is not
                groups = self.texts.alike(list(listed))
            self._copies[query_id] = {one: group for group in groups for one in group}
        return [(query_id, one) for one in self._copies[query_id].get(doc_id, [doc_id])]

    def finished(self) -> str:
        """What the page says where nothing is left."""
        if self.plain:
            return "All of these pairs are answered. rerankbench-report shows the verdict."
        if self.state().standing.rivals():
            return "No pair is left that you did not pass over, and it is open which arm is best."
        return "It is settled which arm is best. rerankbench-report shows the verdict."

    def export(self, path: Path, count: int | None) -> list[str]:
        """Write pairs to judge; as many as are likely to be needed, unless `count` says how many."""
        at = self.state()
        needed = MOST if self.plain else left(at.standing, at.beliefs)[0]
        pairs = self.next(count or needed)
        if not pairs:
            return [f"nothing is left to judge. {self.finished()}"]
        try:
            pairs = list({min(self.copies(pair)): pair for pair in reversed(pairs)}.values())[::-1]
            spreadsheet.write(path, pairs, self.texts)
        except OSError as error:
            raise UserError(f"--export {path}: cannot be written ({error.strerror})") from None
        return [f"wrote      {len(pairs):,} pairs to {path}: fill in grade (0 to {self.highest}, or ?)"]

    def take_in(self, path: Path) -> list[str]:
        """Keep the grades of a file."""
        found = spreadsheet.read(path, self.known, self.highest)
        before = self.record.of(self.judge)
        answers = [self.answer(*each) for each in found.answers]
        self.keep(answers)
        judged = sum(answer.answer == JUDGED for answer in answers)
        changed = sum(a.pair in before and before[a.pair].grade != a.grade for a in answers)
        rest = f", {len(answers) - judged:,} that cannot be told" if judged < len(answers) else ""
        rest += f", {found.empty:,} left empty" if found.empty else ""
        rest += f"; {changed:,} replace another answer of {self.judge.partition(':')[2]}" if changed else ""
        return [f"read       {judged:,} grades{rest}"]

    def lines(self) -> list[str]:
        """Where judging stands."""
        at = self.state()
        more, queries = left(at.standing, at.beliefs)
        leader = at.lists.arms[at.standing.leader].name
        if more:
            settled = f"open       {leader} leads; judge about {more:,} more pairs of {queries:,} queries"
        else:
            settled = f"settled    {leader}: no other arm is better by {DELTA:g} or more"
        judged = f"judged     {at.pool.judged:,} of {int(at.pool.wanted.sum()):,} pairs"
        agreed = [f"agreement  {each.line()}" for each in agreements(self.record)]
        agreed += elsewhere(self.record, self.collection)
        return [judged, settled, *agreed, f"qrels      {self.record.write_qrels()}"]


def fingerprint(runs: Sequence[Run]) -> str:
    """That of the collection of some runs, by which judgements of another one are told."""
    return next((str(run.dataset.get("fingerprint") or "") for run in runs if not run.failed), "")
