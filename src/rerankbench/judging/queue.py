"""Pairs that one judge is asked about, a few chosen ahead so that nobody has to wait."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from rerankbench.judging.forecast import left
from rerankbench.judging.pool import Pair
from rerankbench.judging.record import UNDONE, Answer
from rerankbench.judging.session import Session

AHEAD, SPARE = 5, 2  # pairs chosen at once, and how few are left when more are chosen


class Progress(NamedTuple):
    """judged: pairs with a grade; left: about how many more are needed; settled: whether none is."""

    judged: int
    left: int
    settled: bool


class Queue:
    """Threads may share it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.waiting: deque[Pair] = deque()
        self.progress = Progress(0, 0, False)
        self.lock, self.choosing = threading.RLock(), threading.Lock()
        self.refill()

    def refill(self) -> None:
        """Choose anew by all answers so far; the pair in front stays, as somebody is reading it."""
        with self.choosing:
            pairs = self.session.next(AHEAD + 1)
            with self.lock:
                front = [pair for pair in list(self.waiting)[:1] if not self.answered(pair)]
                self.waiting = deque(front + [p for p in pairs if p not in front and not self.answered(p)])
        self.look_ahead(not pairs)

    def look_ahead(self, finished: bool) -> None:
        """How many are left, which takes longer than choosing the next."""
        if self.session.plain:
            remaining = len(self.session.listed())
        else:
            at = self.session.state()
            remaining = left(at.standing, at.beliefs)[0]
        with self.lock:
            self.progress = Progress(self.session.judged, remaining, finished and not remaining)

    def answered(self, pair: Pair) -> bool:
        return pair in self.session.record.of(self.session.judge)

    def front(self) -> Pair | None:
        """The pair to be judged now; None where nothing is left."""
        if not self.waiting:
            self.refill()
        with self.lock:
            return self.waiting[0] if self.waiting else None

    def answer(self, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns."""
        with self.lock:
            self.session.keep([answer])
            self.waiting = deque(pair for pair in self.waiting if not self.answered(pair))
            self.progress = Progress(self.session.judged, max(0, self.progress.left - 1), False)
            few = len(self.waiting) <= SPARE
        if few and not self.choosing.locked():
            threading.Thread(target=self.refill, daemon=True).start()

    def undo(self) -> None:
        """Take back this judge's last answer to a pair of these lists, and ask again."""
        with self.lock:
            given = self.session.record.of(self.session.judge)
            last = next((pair for pair in reversed(given) if pair in self.session.known), None)
            if last is not None:
                copies = self.session.copies(last)
                undone = [pair for pair in given if pair in copies]  # the one that was asked stands first
                self.session.record.add_all([self.session.answer(pair, UNDONE) for pair in undone])
                self.waiting = deque([undone[0], *(pair for pair in self.waiting if pair not in undone)])
                self.progress = self.progress._replace(judged=self.session.judged)
