"""Rows of ragas: `user_input` or `question`, `retrieved_contexts` or `contexts`, `reference_contexts`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rerankbench.collections.reading.shapes.gathered import Gathered
from rerankbench.collections.reading.shapes.shape import NONE, CollectionShape, Item

_REFERENCE = "reference_contexts"
_RETRIEVED = ("retrieved_contexts", "contexts")


class _Ragas(CollectionShape):
    """Relevant are the reference contexts; what was retrieved makes documents, but says nothing of relevance.

    In test sets of ragas before 0.2, `contexts` were the reference; in evaluations they were what was found.
    """

    def relevant_column(self, first: Sequence[Item]) -> str | None:
        return _REFERENCE if any(item.get(_REFERENCE) for item in first) else None

    def relevant_problem(self, first: Sequence[Item], given: str | None) -> str | None:
        lists = [column for column in (_REFERENCE, *_RETRIEVED) if any(column in item for item in first)]
        if given is not None:
            wrong = f"there is no such list; choose one of {', '.join(lists)}"
            return None if given in (*lists, NONE) else wrong
        if self.relevant_column(first) is not None:
            return None
        choice = next((column for column in lists if column != _REFERENCE), lists[0])
        return (
            f"no {_REFERENCE} say which passages are relevant, and {choice} may only have been retrieved; "
            f"set dataset.relevant_column={choice} if they are the relevant ones, or "
            f"dataset.relevant_column={NONE} to run without judgements"
        )

    def gather(self, items: Iterator[tuple[int, Item]], into: Gathered, relevant: str | None) -> None:
        for number, item in items:
            query_id = into.query(number, item.get("user_input", item.get("question")))
            if relevant is not None and item.get(relevant) is not None:
                into.judge(number, query_id, item[relevant], 1, relevant)
            for column in (_REFERENCE, *_RETRIEVED):
                texts = item.get(column)
                for text in texts if isinstance(texts, list) else []:
                    into.passage(number, text)


_LISTS = (_REFERENCE, *_RETRIEVED)
COLLECTIONS = (_Ragas("ragas", "rows of ragas", (("user_input", "question"), _LISTS), _LISTS),)
