"""SQuAD: the original's articles with paragraphs and their questions, and the hub's row for each question."""

from __future__ import annotations

from collections.abc import Iterator

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.shapes.gathered import Gathered
from rerankbench.collections.reading.shapes.shape import CollectionShape, Item


class _Rows(CollectionShape):
    """The passage of a question is relevant to it, unless the question has no answer there."""

    def gather(self, items: Iterator[tuple[int, Item]], into: Gathered, relevant: str | None) -> None:
        for number, item in items:
            _question(number, item, into.passage(number, item.get("context"), item.get("title")), into)


class _Articles(CollectionShape):
    """The same, a paragraph with all of its questions."""

    def gather(self, items: Iterator[tuple[int, Item]], into: Gathered, relevant: str | None) -> None:
        for number, article in items:
            for paragraph in _objects(number, article, "paragraphs", into):
                doc_id = into.passage(number, paragraph.get("context"), article.get("title"))
                for question in _objects(number, paragraph, "qas", into):
                    _question(number, question, doc_id, into)


def _question(number: int, item: Item, doc_id: str | None, into: Gathered) -> None:
    if item.get("id") is None:
        into.log.add(number, f"a question has no id: {shown(item.get('question'))}; give it one")
        return
    into.query(number, item.get("question"), item["id"])
    answers = item.get("answers")
    texts = answers.get("text") if isinstance(answers, dict) else answers
    if doc_id is not None and (texts or answers is None) and not item.get("is_impossible"):
        into.judgements.append((number, (item["id"], doc_id, 1)))


def _objects(number: int, item: Item, key: str, into: Gathered) -> list[Item]:
    found = item.get(key)
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        return found
    into.log.add(number, f"{key!r} is {shown(found)}: write a list of objects")
    return []


_ANSWERED = ("answers", "is_impossible")
COLLECTIONS = (
    _Rows("squad", "rows of SQuAD", (("context",), ("question",), _ANSWERED), ("answers",)),
    _Articles("squad_articles", "articles of SQuAD", (("paragraphs",),)),
)
