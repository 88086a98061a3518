"""Which column of a file holds what: by config, or by the usual names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

LACKING = object()  # stands for the values of a required role that a file does without
Row = tuple[object, ...]  # one value for each role of a layout, in their order
_SEPARATORS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Layout:
    """The roles that a table's columns play.

    names: for each role the column names that are accepted, the most usual first.
    optional: roles that a file may lack.
    assumed: roles that a file may lack if it has no column that we do not know, such as the grade of
    judgements that only list what is relevant.
    instead: role -> the role that stands in for it where it is lacking.
    numbers: roles whose values are numbers.
    passed_over: names of columns that say nothing here.
    headerless: the roles by position that a delimited file without a header may have; "" is skipped.
    open_end: whether the last column, where lines are split on white space, may hold white space itself.
    beside: names that count only where a role has no other column: PyTerrier's tables have a docid, a number
    inside the index, beside the docno.
    keys: the config key that names the column of each role, for messages.
    given: roles whose column the config names.
    """

    names: Mapping[str, tuple[str, ...]]
    optional: frozenset[str] = frozenset()
    assumed: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    passed_over: tuple[str, ...] = ()
    headerless: tuple[tuple[str, ...], ...] = ()
    open_end: bool = False
    beside: frozenset[str] = frozenset()
    keys: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self.names)

    @property
    def absent(self) -> tuple[object, ...]:
        """For each role what stands for the value of a record without it: None where it is optional."""
        return tuple(None if role in self.optional else LACKING for role in self.roles)

    @property
    def identity(self) -> str:
        """What of the layout decides how a file is read, the same in every process."""
        return f"{sorted(self.names.items())} {sorted(self.optional)} {self.headerless}"

    def named(self, **columns: str | None) -> Layout:
        """The same layout with some roles tied to the columns that the config names (None: guess)."""
        given = {role: (name,) for role, name in columns.items() if name is not None}
        return replace(
            self,
            names={**self.names, **given},
            optional=self.optional - given.keys(),
            assumed=self.assumed - given.keys(),
            instead={role: other for role, other in self.instead.items() if role not in given},
            given=self.given | given.keys(),
        )

    def shaped(self, columns: Mapping[str, tuple[str, ...]]) -> Layout:
        """The same layout for records of a framework: what the config names, else its columns alone."""
        own = {role: columns.get(role, ()) for role in self.names.keys() - self.given}
        names = {role: own.get(role, usual) for role, usual in self.names.items()}
        return replace(self, names=names, beside=frozenset(n for of in own.values() for n in of[1:]))

    def find(self, columns: Iterable[str]) -> dict[str, str]:
        """Role -> column, for the roles that `columns` has.

        Usual names are found in any case and with any separators, names from the config only as given.
        """
        have = dict.fromkeys(columns)
        loosely: dict[str, str] = {}
        for name in have:
            loosely.setdefault(loose(name), name)
        found = {}
        for role, names in self.names.items():
            exact = next((name for name in names if name in have), None)
            if exact is None and role not in self.given:
                exact = next((loosely[loose(name)] for name in names if loose(name) in loosely), None)
            if exact is not None:
                found[role] = exact
        return found

    def candidates(self, role: str, columns: Iterable[str]) -> list[str]:
        """The columns that may hold a role by their names; one at most where the config names it."""
        usual = {loose(name) for name in self.names[role]}
        if role in self.given:
            return [name for name in columns if name in self.names[role]]
        named = [name for name in dict.fromkeys(columns) if loose(name) in usual]
        sure = [name for name in named if name.casefold() not in self.beside]  # not PyTerrier's docid
        return sure or named[:1]

    def is_header(self, cells: Iterable[str]) -> bool:
        """Whether the first row of a delimited file names columns.

        It has half of the required ones, or one that the config names.
        """
        found = self.find(cells).keys()
        if found & self.given:
            return True
        return 2 * len(found - self.optional) >= len(self.names.keys() - self.optional)

    def dispensable(self, columns: list[str]) -> set[str]:
        """The roles that a table of these columns may lack."""
        found = self.find(columns)
        known = {loose(name) for name in (*found.values(), *self.passed_over)}
        assumed = self.assumed if all(loose(name) in known for name in columns) else frozenset()
        stood_in = {role for role, other in self.instead.items() if other in found}
        return {*self.optional, *assumed, *stood_in}

    def missing(self, columns: list[str], cure: str | None = None) -> list[str]:
        """One message for each role that has no column, none when the table fits.

        cure: settings that would name the columns.
        """
        found = self.find(columns)
        dispensable = self.dispensable(columns)
        return [
            f"no column for the {role}: looked for {' | '.join(self.names[role])}, found "
            f"{', '.join(map(repr, columns)) or 'none'}; {f'set {cure}' if cure else self._cure(role)}"
            for role in self.roles
            if role not in found and role not in dispensable
        ]

    def doubled(self, columns: list[str]) -> list[str]:
        """One message for each column that is read, and is there twice."""
        read = self.find(columns).values()
        return [f"two columns are named {name!r}: rename one" for name in read if columns.count(name) > 1]

    def header_cure(self, width: int, cure: str | None = None) -> str:
        """What to do with a file of `width` columns that seems to have no header; cure: settings that name
        its columns."""
        if cure:
            return f"add a header, or name its columns: {cure}"
        required = [role for role in self.roles if role not in self.optional]
        if width < len(required):
            required = [role for role in required if role not in self.assumed]
        return f"add a header, for instance {', '.join(self.names[role][0] for role in required)}"

    def _cure(self, role: str) -> str:
        name = f"set {self.keys[role]}=NAME, or " if role in self.keys else ""
        return f"{name}rename the column"


def loose(name: str) -> str:
    """A column's name without case and separators: "Query ID" and "query-id" are one."""
    return _SEPARATORS.sub("", name.casefold()) or name


# "docno" before "docid": PyTerrier's tables have both, and its docid is a number inside the index.
_DOC_ID = ("_id", "id", "doc_id", "docno", "docid", "did", "pid", "document_id", "corpus-id", "corpus_id")
_QUERY_ID = ("_id", "id", "query_id", "qid", "q_id", "query-id", "topic_id", "topic")

DOCUMENTS = Layout(
    names={
        "id": _DOC_ID,
        "title": ("title", "headline"),
        "text": ("text", "contents", "content", "body", "passage", "document", "abstract", "page_content"),
    },
    optional=frozenset({"title"}),
    headerless=(("id", "text"),),
    beside=frozenset({"docid"}),
)

QUERIES = Layout(
    names={"id": _QUERY_ID, "text": ("text", "query", "query_text", "question", "title", "contents")},
    headerless=(("id", "text"),),
    beside=frozenset({"title", "topic"}),
)

_IN_PAIRS_QUERY = ("query-id", "query_id", "qid", "q_id", "topic_id", "topic", "query")
_IN_PAIRS_DOC = ("corpus-id", "corpus_id", "doc_id", "docno", "docid", "did", "pid", "document_id")
_GRADE = ("score", "relevance", "rel", "grade", "label", "relevance_score", "relevant", "is_relevant")
_ITERATION = ("iter", "iteration", "Q0", "q0", "0")

JUDGEMENTS = Layout(
    names={
        "query": _IN_PAIRS_QUERY,
        "document": _IN_PAIRS_DOC,
        "grade": _GRADE,
    },
    assumed=frozenset({"grade"}),
    numbers=frozenset({"grade"}),
    passed_over=(*_ITERATION, "split"),
    beside=frozenset({"query", "topic", "docid"}),
    headerless=(("query", "document", "grade"), ("query", "", "document", "grade"), ("query", "document")),
)

RUN = Layout(
    names={
        "query": _IN_PAIRS_QUERY,
        "document": (*_IN_PAIRS_DOC, "_id", "id"),  # of Elasticsearch's hits
        "score": ("score", "_score", "similarity", "sim", "docscore"),
        "rank": ("rank",),
        "tag": ("tag", "run", "run_id", "system"),
    },
    optional=frozenset({"rank", "tag"}),
    instead={"score": "rank"},
    numbers=frozenset({"score", "rank"}),
    passed_over=_ITERATION,
    beside=frozenset({"query", "topic", "docid", "_id", "id"}),
    headerless=(
        ("query", "", "document", "rank", "score", "tag"),
        ("query", "", "document", "rank", "score"),
        ("query", "document", "score"),
    ),
    open_end=True,
)
