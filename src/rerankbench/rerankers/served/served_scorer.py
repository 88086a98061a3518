"""Scores of a model behind a server: several requests on their way, each answer kept as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.served.answer import Malformed, Places
from rerankbench.rerankers.served.connection import Connection
from rerankbench.rerankers.served.request import Limits, Request, requests
from rerankbench.rerankers.served.words import words

Part = tuple[Ints, Floats]


class ServedScorer(Scorer):
    """Asks `connection` at `path` for what `body` makes of a request, and finds scores at `places`."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        body: Callable[[Request], dict[str, Any]],
        places: Places,
        limits: Limits,
    ) -> None:
        self.connection, self.path, self.body, self.places = connection, path, body, places
        self.limits, concurrency = limits, connection.habits.concurrency
        self.batch = limits.documents * concurrency
        self.pool = ThreadPoolExecutor(concurrency, "requests")

    def stretches(self, queries: Ints) -> Iterator[slice]:
        """Whole queries where possible: one that is taken apart would take a request more."""
        start, ends = 0, [*(np.flatnonzero(np.diff(queries)) + 1).tolist(), len(queries)]
        while start < len(queries):
            whole = [end for end in ends if start < end <= start + self.batch]
            end = whole[-1] if whole else start + self.batch
            yield slice(start, end)
            start, ends = end, [one for one in ends if one > end]

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Floats:
        found = np.full((len(documents), 1), np.nan, np.float32)
        for positions, values in self.parts(queries, documents):
            found[positions] = values
        return found

    def parts(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[Part]:
        """Answers as they come. What is on its way when a request fails is waited for: it may be paid for."""
        self.connection.resume()
        asked = requests(queries, documents, self.limits)
        futures = {self.pool.submit(self.ask, request): request.positions for request in asked}
        failed: BaseException | None = None
        try:
            for done in as_completed(futures):
                error = None if done.cancelled() else done.exception()
                failed = failed or error
                if error is not None:
                    self.give_up(futures)
                elif not done.cancelled():
                    yield futures[done], done.result()[:, None]
        finally:
            self.give_up(futures)
        if failed is not None:
            raise failed

    def give_up(self, futures: Sequence[Future[Any]] | dict[Future[Any], Any]) -> None:
        """Begin no further request, and repeat none."""
        self.connection.stop()
        for future in futures:
            future.cancel()

    def ask(self, request: Request) -> Floats:
        """Scores of the request's documents. Raises UserError with the server's words."""
        answer = self.connection.post(self.path, self.body(request))
        try:
            return self.places.scores(answer, len(request.documents))
        except Malformed as error:
            place, said = self.connection.place(self.path), self.excerpt(answer)
            raise UserError(f"{place}: {error}; it answered {said}; none of this answer is kept") from None

    def excerpt(self, answer: Any) -> str:
        return self.connection.cleaned(words(repr(answer)[:1000].encode("utf-8", "replace")))

    def close(self) -> None:
        self.connection.stop()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.connection.close()
