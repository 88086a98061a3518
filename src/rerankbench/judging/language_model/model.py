"""Judging by a language model: the same pairs that a person would be asked, until all is settled."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.judging.language_model.budget import Spent
from rerankbench.judging.language_model.chat import Chat
from rerankbench.judging.language_model.model_settings import PASSAGE, QUERY, umbrela
from rerankbench.judging.pool import Pair
from rerankbench.judging.record import JUDGED, UNCLEAR, UNDONE, Answer
from rerankbench.judging.session import Session
from rerankbench.rerankers.served.connection import Rejected

SCORE = re.compile(r"##\s*final\s+score\s*:[\s*]*([^\n]*)", re.IGNORECASE)
GRADE = re.compile(r"([0-9]+)[*.,;:]*(?:\s[^0-9]*)?")  # and words, but no other number
PLACES = re.compile(r"\{query\}|\{passage\}")
THINKS, THOUGHTS = "<think>", re.compile(r".*</think>", re.DOTALL)
SHOWN = 200  # characters of an answer that is no grade
SILENCE = "(no words; a model that thinks first needs more judge.max_tokens)"


@dataclass
class ModelJudge:
    """Asks a model; `unread`: answers that were no grade, which nobody guesses."""

    session: Session
    chat: Chat
    say: Callable[[str], None]
    judged: int = 0
    answered: bool = False
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
        again = [self.session.answer(pair, UNDONE) for pair in self.session.passed()]
        self.session.record.add_all(again)  # other settings may make it answer; what it said is kept by these
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
        rejected: list[tuple[Pair, Rejected]] = []
        for pair, future in zip(pairs, futures, strict=True):
            try:
                answers.append(self.read(pair, future.result()))
            except Spent as spent:
                self.stopped = str(spent)
            except Rejected as error:
                rejected.append((pair, error))
            except UserError as error:
                failed = failed or error
                self.chat.stop()
        self.answered = self.answered or bool(answers)
        if self.answered:  # so that it is these texts that it does not take
            answers += [self.unread_answer(pair, error.problems[0]) for pair, error in rejected]
        elif rejected:
            failed = failed or rejected[0][1]
        self.session.keep(answers)
        if failed is not None:
            raise failed

    def read(self, pair: Pair, words: str) -> Answer:
        """An answer as a grade, or as none."""
        grade = grade_in(words, self.session.highest)
        if grade is None:
            return self.unread_answer(pair, words)
        self.judged += 1
        return self.session.answer(pair, JUDGED, grade)

    def unread_answer(self, pair: Pair, words: str) -> Answer:
        self.unread.append(words)
        return self.session.answer(pair, UNCLEAR, None, visible(words[:SHOWN]))

    def lines(self) -> list[str]:
        """What was asked, what it cost, what could not be read."""
        budget = self.chat.budget
        money = f", at most {budget.paid:.4f} in money" if self.chat.settings.charged else ""
        found = [f"asked      {budget.sent:,} requests{money}, {self.chat.reused:,} answers reused"]
        if self.unread:
            example = visible(" ".join(next(filter(str.strip, self.unread), SILENCE).split()))[:SHOWN]
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
    if THINKS in said:  # it did not come to an end
        return None
    lines = [line.strip() for line in SCORE.findall(said) if re.search("[0-9]", line)]
    given = [GRADE.fullmatch(line) for line in lines] or [re.fullmatch("([0-9]+)", said)]
    grades = {each[1] if each else "" for each in given}
    number = grades.pop() if len(grades) == 1 else ""
    return int(number) if number and len(number) < 5 and int(number) <= highest else None
