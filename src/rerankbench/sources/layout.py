"""Which column of a file holds what: by config, or by the usual names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Layout:
    """The roles that a table's columns play.

    names: for each role the column names that are accepted, the most usual first.
    optional: roles that a file may lack.
    headerless: the roles by position that a delimited file without a header may have; "" is skipped.
    keys: the config key that names the column of each role, for messages.
    """

    names: Mapping[str, tuple[str, ...]]
    optional: frozenset[str] = frozenset()
    headerless: tuple[tuple[str, ...], ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self.names)

    @property
    def identity(self) -> str:
        """What of the layout decides how a file is read, the same in every process."""
        return f"{sorted(self.names.items())} {sorted(self.optional)} {self.headerless}"

    def named(self, **columns: str | None) -> Layout:
        """The same layout with some roles tied to the columns that the config names (None: guess)."""
        given = {role: (name,) for role, name in columns.items() if name is not None}
        return replace(self, names={**self.names, **given}, optional=self.optional - given.keys())

    def find(self, columns: Iterable[str]) -> dict[str, str]:
        """Role -> column, for the roles that `columns` has."""
        have = set(columns)
        chosen = {
            role: next((name for name in names if name in have), None) for role, names in self.names.items()
        }
        return {role: name for role, name in chosen.items() if name is not None}

    def is_header(self, cells: Iterable[str]) -> bool:
        """Whether the first row of a delimited file names columns: it has half of the required ones."""
        return 2 * len(self.find(cells).keys() - self.optional) >= len(self.names.keys() - self.optional)

    def missing(self, columns: list[str]) -> list[str]:
        """One message for each role that has no column, none when the table fits."""
        found = self.find(columns)
        return [
            f"no column for the {role}: looked for {' | '.join(self.names[role])}, found "
            f"{', '.join(map(repr, columns)) or 'none'}; {self._cure(role)}"
            for role in self.roles
            if role not in found and role not in self.optional
        ]

    def header_cure(self) -> str:
        """What to do with a file that seems to have no header."""
        keys = [self.keys[role] for role in self.roles if role in self.keys]
        return f"add a header, or name its columns: {', '.join(keys)}" if keys else "add a header"

    def _cure(self, role: str) -> str:
        return f"set {self.keys[role]}" if role in self.keys else "rename the column"


# "docno" before "docid": PyTerrier's tables have both, and its docid is a number inside the index.
_DOC_ID = ("_id", "id", "doc_id", "docno", "docid", "did", "pid", "document_id", "corpus-id", "corpus_id")
_QUERY_ID = ("_id", "id", "query_id", "qid", "q_id", "query-id", "topic_id", "topic")

DOCUMENTS = Layout(
    names={
        "id": _DOC_ID,
        "title": ("title", "headline"),
        "text": ("text", "contents", "content", "body", "passage", "document", "abstract"),
    },
    optional=frozenset({"title"}),
    headerless=(("id", "text"),),
)

QUERIES = Layout(
    names={"id": _QUERY_ID, "text": ("text", "query", "query_text", "question", "title", "contents")},
    headerless=(("id", "text"),),
)

_IN_PAIRS_QUERY = ("query-id", "query_id", "qid", "q_id", "topic_id", "topic", "query")
_IN_PAIRS_DOC = ("corpus-id", "corpus_id", "doc_id", "docno", "docid", "did", "pid", "document_id")

JUDGEMENTS = Layout(
    names={
        "query": _IN_PAIRS_QUERY,
        "document": _IN_PAIRS_DOC,
        "grade": ("score", "relevance", "rel", "grade", "label", "relevance_score"),
    },
    headerless=(("query", "document", "grade"), ("query", "", "document", "grade")),
)

RUN = Layout(
    names={
        "query": _IN_PAIRS_QUERY,
        "document": (*_IN_PAIRS_DOC, "_id", "id"),  # of Elasticsearch's hits
        "score": ("score", "_score", "similarity", "sim", "docscore"),
        "rank": ("rank",),
    },
    optional=frozenset({"rank"}),
    headerless=(("query", "", "document", "rank", "score", ""),),
)
