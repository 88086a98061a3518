"""Is a running service what was measured? By every way to ask it that the arm allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from rerankbench.report.arms.arms import contest
from rerankbench.report.arms.runs import Run
from rerankbench.report.deployment import Deployment
from rerankbench.serving.client import Answer, Client
from rerankbench.serving.comparison import Comparison, compare
from rerankbench.serving.replay import Measured, Question, questions


def compared(
    deployment: Deployment, runs: Sequence[Run], measure: str, client: Client, clients: int, own: bool
) -> Iterator[Comparison]:
    """One comparison for texts that are reranked, and for our `own` service one of the whole search.

    Raises UserError where it cannot be asked, or the runs do not hold what was measured.
    """
    found = Measured(deployment, contest(runs, measure), runs)
    found.refuse()
    if not deployment.needs_first_stage:

        def rerank(question: Question) -> Answer:
            return client.rerank(question.query, question.documents)

        yield of("POST /rerank" if own else client.address, found, found.depth, rerank, clients, "latency")
    if own and client.searches():

        def search(question: Question) -> Answer:
            return client.search(question.query, question.query_id, question.ids)

        yield of("POST /search", found, None, search, clients, "query")


Ask = Callable[[Question], Answer]


def of(what: str, found: Measured, depth: int | None, ask: Ask, clients: int, part: str) -> Comparison:
    """`clients` questions are on their way at a time."""
    asked = questions(found, depth)
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, asked))
    return compare(what, found, asked, answers, clients, part)
