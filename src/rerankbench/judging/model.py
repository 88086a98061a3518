"""Judging by a language model: the same pairs that a person would be asked, until all is settled."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.judging.budget import Spent
from rerankbench.judging.chat import Chat
from rerankbench.judging.model_settings import PASSAGE, QUERY, umbrela
from rerankbench.judging.pool import Pair
from rerankbench.judging.record import JUDGED, UNCLEAR, Answer
from rerankbench.judging.session import Session

SCORE = re.compile(r"##\s*final\s+score\s*:\s*\**\s*(-?\d+(?:\.\d+)?)", re.IGNORECASE)
PLACES = re.compile(r"\{query\}|\{passage\}")
THOUGHTS = re.compile(r".*</think>", re.DOTALL)
HIGHEST = 3  # of the grades that the usual prompt asks for
SHOWN = 200  # characters of an answer that is no grade


@dataclass
class ModelJudge:
    """Asks a model; `unread`: answers that were no grade, which nobody guesses."""

    session: Session
    chat: Chat
    say: Callable[[str], None]
    judged: int = 0
    unread: list[str] = field(default_factory=list)
    stopped: str = ""

    @property
    def prompt(self) -> str:
        path = self.chat.settings.prompt
        return umbrela() if path is None else Path(path).read_text(encoding="utf-8")

    def run(self) -> None:
        """Judge until all is settled, the budget is used up, or the server gives up; all answers are kept.

        Raises UserError where the server fails.
        """
        template, size = self.prompt, max(5, 2 * self.chat.settings.concurrency)
        with ThreadPoolExecutor(self.chat.settings.concurrency) as pool:
            while not self.stopped and (pairs := self.session.next(size)):
                self.batch(pool, pairs, template)
                self.say(f"{self.judged:,} judged, {self.chat.budget.sent:,} requests")

    def batch(self, pool: ThreadPoolExecutor, pairs: Sequence[Pair], template: str) -> None:
        """Some pairs at once; what was answered is kept even where others failed."""
        texts = self.session.texts.documents([doc_id for _, doc_id in pairs])
        queries = [self.session.texts.queries.get(query_id, "") for query_id, _ in pairs]
        prompts = [filled(template, query, text) for query, text in zip(queries, texts, strict=True)]
        futures = [pool.submit(self.chat.ask, prompt) for prompt in prompts]
        answers, failed = [], None
        for pair, future in zip(pairs, futures, strict=True):
            try:
                answers.append(self.read(pair, future.result()))
            except Spent as spent:
                self.stopped = str(spent)
            except UserError as error:
                failed = failed or error
                self.chat.stop()
        self.session.keep(answers)
        if failed is not None:
            raise failed

    def read(self, pair: Pair, words: str) -> Answer:
        """An answer as a grade, or as none."""
        grade = grade_in(words, self.session.highest)
        if grade is None:
            self.unread.append(words)
            return Answer(*pair, self.session.judge, UNCLEAR, None, visible(words[:SHOWN]))
        self.judged += 1
        return Answer(*pair, self.session.judge, JUDGED, grade)

    def lines(self) -> list[str]:
        """What was asked, what it cost, what could not be read."""
        budget = self.chat.budget
        money = f", at most {budget.paid:.4f} in money" if self.chat.settings.charged else ""
        found = [f"asked      {budget.sent:,} requests{money}, {self.chat.reused:,} answers reused"]
        if self.unread:
            example = visible(" ".join(self.unread[0].split()))[:80]
            found.append(
                f"unread     {len(self.unread):,} answers gave no grade and count as not judged: {example}"
            )
        if self.stopped:
            found.append(f"stopped    {self.stopped}")
        return found


def filled(template: str, query: str, passage: str) -> str:
    """The template with both texts, in one go: a text may hold such a place itself."""
    given = {QUERY: query, PASSAGE: passage}
    return PLACES.sub(lambda match: given[match[0]], template)


def grade_in(words: str, highest: int) -> int | None:
    """The one grade that an answer gives; None where it gives none, several, or one that is no grade."""
    said = THOUGHTS.sub("", words).strip()
    found = set(SCORE.findall(said)) or ({said} if re.fullmatch(r"\d+", said) else set())
    if len(found) != 1:
        return None
    number = found.pop()
    return int(number) if number.isdecimal() and int(number) <= highest else None
