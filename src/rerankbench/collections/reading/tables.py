"""The files of a collection read together, so that all their faults are told at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerankbench.basics.finding import Finding, noticed, shown
from rerankbench.collections.reading import rows
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.column_guess import setting
from rerankbench.collections.reading.conversion import read_table
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import Judgements, read_judgements
from rerankbench.collections.reading.layout import DOCUMENTS, JUDGEMENTS, QUERIES, Layout
from rerankbench.collections.reading.lines import read_lines, suffix
from rerankbench.collections.reading.nested import read_pairs
from rerankbench.collections.reading.object_rows import open_objects
from rerankbench.collections.reading.rows import columns_taken, is_delimited, new_log
from rerankbench.collections.reading.swapped import BY_HAND
from rerankbench.collections.run_order import count_up

_TELLING = 5  # judgements of a query from which on grades hardly count up by chance
_NAMED = 6  # of the columns that are not read


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Where the corpus, the queries and the judgements are (None: there are none), and what columns hold.

    exchange_cure: what to do if the corpus and the queries turn out to be in each other's place.
    """

    corpus: Path
    queries: Path
    judgements: Path | None
    documents_layout: Layout = DOCUMENTS
    queries_layout: Layout = QUERIES
    judgements_layout: Layout = JUDGEMENTS
    exchange_cure: str = "exchange the names of the two files"

    def problems(self) -> list[str]:
        """Columns that the files lack, told from their first records."""
        return [problem for found in self.problems_of_each() for problem in found]

    def problems_of_each(self) -> list[list[str]]:
        """The same for each file by itself: corpus, queries, judgements."""
        # Nested judgements have no columns; a corpus with the extension .json is one object per line.
        nested = self.judgements is not None and suffix(self.judgements) == ".json"
        files = self._files()[: 2 if nested else 3]
        found = [rows.column_problems(path, layout) for path, layout in files]
        if self.judgements is not None and not nested and found[2] and is_run(self.judgements):
            found[2] = [f"{self.judgements}: is a run, in TREC's six columns; {self._run_cure()}"]
        return found

    def _run_cure(self) -> str:
        if "grade" not in self.judgements_layout.keys:
            return "put the judgements there"
        place = setting("first_stage.path", str(self.judgements))
        return f"set dataset.qrels=null first_stage=run {place}, or give the judgements"

    def read(self, cache_dir: Path) -> Parts:
        """Read all files; large ones are kept as Arrow files in `cache_dir`."""
        logs = [new_log(path) for path, _ in self._files()]
        documents = read_table(self.corpus, self.documents_layout, logs[0], cache_dir)
        queries = read_table(self.queries, self.queries_layout, logs[1], cache_dir)
        judgements = None
        if self.judgements is not None:
            pairs = read_pairs(self.judgements, self.judgements_layout, logs[2])
            judgements = read_judgements(pairs, logs[2])
            self._refuse_ranks(judgements, logs[2])
        return Parts(
            documents=documents,
            queries=queries.table,
            judgements=judgements,
            logs=logs,
            findings=(
                *shaped(self.corpus, self.documents_layout, len(documents.table)),
                *shaped(self.queries, self.queries_layout, len(queries.table)),
                *numeric_ids(logs),
            ),
            swap_cure=rows.swap_cure(self.judgements, self.judgements_layout) if self.judgements else BY_HAND,
            exchange_cure=self.exchange_cure,
        )

    def _files(self) -> list[tuple[Path, Layout]]:
        """Every file that there is, with its layout: corpus, queries, judgements."""
        judged = [] if self.judgements is None else [(self.judgements, self.judgements_layout)]
        return [(self.corpus, self.documents_layout), (self.queries, self.queries_layout), *judged]

    def _refuse_ranks(self, judgements: Judgements, log: FileLog) -> None:
        """Ranks of a run, which count 1, 2, 3 for each query, say the opposite of grades."""
        layout, counts = self.judgements_layout, judgements.query_ids.dictionary_encode().indices.to_numpy()
        if "grade" in layout.given or not len(counts) or np.bincount(counts).max() < _TELLING:
            return
        if count_up(counts.astype(np.int64), judgements.grades.astype(np.float64)):
            keys = layout.keys
            found = rows.settled_columns(log.path, layout).items()
            cure = " ".join(setting(keys[role], name) for role, name in found if role in keys)
            what = "its grades count 1, 2, 3 for each query, as the ranks of a run do: give the judgements"
            log.add(None, f"{what}, or, if these are grades, set {cure}" if cure else what)

    def columns(self) -> list[Finding]:
        """What each file's columns were taken for."""
        return [found for path, layout in self._files() for found in taken(path, layout)]


def is_run(path: Path) -> bool:
    """Whether a file begins as TREC's runs do: six columns, the second of them Q0."""
    first = next(read_lines(path, new_log(path)), (0, ""))[1].split()
    return len(first) == 6 and first[1].upper() == "Q0"


def shaped(path: Path, layout: Layout, count: int) -> tuple[Finding, ...]:
    """What to say of a file whose records were taken for those of a framework."""
    if is_delimited(path):
        return ()
    objects = open_objects(path, layout, new_log(path))
    if objects.shape is None or not count:
        return ()
    read = ", ".join(f"{role} from {shown(column, 40)}" for role, column in objects.found.items())
    what = f"records of {path.name} taken for {objects.shape.name}"
    keys = " and ".join(layout.keys[role] for role in objects.found if role in layout.keys)
    effect = f"{read}; {keys} name other columns" if keys else read
    return (Finding("info", what, count, (), effect),)


def taken(path: Path, layout: Layout) -> list[Finding]:
    """What the columns of one file were taken for; nothing for nested JSON, which has none."""
    if suffix(path) == ".json" and "text" not in layout.roles:
        return []
    found, rest = columns_taken(path, layout)
    roles = tuple(f"{role} from {shown(name, 40)}" for role, name in found.items())
    more = f" and {len(rest) - _NAMED} more" if len(rest) > _NAMED else ""
    unread = f"not read: {', '.join(shown(name, 40) for name in rest[:_NAMED])}{more}"
    effect = unread if rest else "all read"
    return noticed(Finding("info", f"columns read of {path.name}", len(found), roles, effect))


def numeric_ids(logs: list[FileLog]) -> tuple[Finding, ...]:
    """What to say of files that give their ids as numbers."""
    counts = ((f"ids in {log.path.name} are numbers", log.numeric_ids) for log in logs)
    effect = "taken as strings, digit by digit"
    return tuple(noticed(*(Finding("info", what, count, (), effect) for what, count in counts)))
