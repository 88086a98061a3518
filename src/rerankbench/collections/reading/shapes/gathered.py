"""A collection gathered from the records of one file: numbered documents, queries and judgements."""

from __future__ import annotations

from dataclasses import dataclass, field

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Row


@dataclass
class Gathered:
    """Numbered rows: documents and queries (id, title, text), judgements (query id, document id, grade).

    Passages without ids are numbered from 0 as they first appear; the same title and text is one document.
    """

    log: FileLog
    documents: list[tuple[int, Row]] = field(default_factory=list)
    queries: list[tuple[int, Row]] = field(default_factory=list)
    judgements: list[tuple[int, Row]] = field(default_factory=list)
    _numbered: dict[tuple[str, str], str] = field(default_factory=dict)

    def document(self, number: int, doc_id: object, title: object, text: object) -> None:
        """Add a document that has an id."""
        self.documents.append((number, (doc_id, title, text)))

    def passage(self, number: int, text: object, title: object = None) -> str | None:
        """The id of a passage that has none of its own; None, and a fault, for what is no text."""
        title = "" if title is None else title
        if not isinstance(text, str) or not isinstance(title, str):
            told = text if not isinstance(text, str) else title
            self.log.add(number, f"a passage is {shown(told)}: passages and titles are strings")
            return None
        doc_id = self._numbered.setdefault((title, text), str(len(self._numbered)))
        if len(self._numbered) > len(self.documents):
            self.documents.append((number, (doc_id, title, text)))
        return doc_id

    def query(self, number: int, text: object, query_id: object = None) -> object:
        """Add a query; returns its id, by default its number from 0."""
        query_id = str(len(self.queries)) if query_id is None else query_id
        self.queries.append((number, (query_id, "", text)))
        return query_id

    def judge(self, number: int, query_id: object, texts: object, grade: int, column: str) -> None:
        """Judge each of a list of passages without ids."""
        if not isinstance(texts, list):
            self.log.add(number, f'{column!r} is {shown(texts)}: write a list of passages, [".."]')
            return
        for text in texts:
            doc_id = self.passage(number, text)
            if doc_id is not None:
                self.judgements.append((number, (query_id, doc_id, grade)))
