"""What is odd about a collection or a run, told before anything is spent, with its effect on figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding, Severity, noticed
from rerankbench.basics.visible import visible
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.source import Source
from rerankbench.commands.check.candidates import candidate_findings
from rerankbench.commands.check.ids import id_findings
from rerankbench.commands.check.lengths import Tokenizer, length_findings
from rerankbench.commands.check.texts import text_findings
from rerankbench.first_stages.run import Run

if TYPE_CHECKING:
    from rich.table import Table

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
_COLOURS: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}


def findings(
    collection: Collection,
    candidates: Candidates | None = None,
    tokenizer: Tokenizer | None = None,
    max_length: int = 512,
) -> list[Finding]:
    """Everything worth knowing before a run, the gravest first; what was seen on loading is among it.

    tokenizer: a Hugging Face tokenizer; without one, lengths are told in characters and nothing about cuts.
    max_length: how many tokens of a pair, query included, the model reads.
    """
    found = [*_sizes(collection), *collection.findings, *text_findings(collection)]
    found += [*id_findings(collection), *length_findings(collection, tokenizer, max_length)]
    if candidates is not None:
        found += [*candidates.findings, *candidate_findings(collection, candidates)]
    return sorted(noticed(*found), key=lambda one: _ORDER[one.severity])


def examine(
    source: Source,
    cache_dir: Path,
    run: Run | None = None,
    depth: int = 1000,
    tokenizer: Tokenizer | None = None,
    max_length: int = 512,
) -> list[Finding]:
    """Load a collection and perhaps a run, faulty records left out, and tell all that is wrong or odd.

    Faults are findings of severity `error`: an experiment does not start before they are cured.
    """
    collection, problems = source.inspect(cache_dir)
    if collection is None:
        return _faults(problems)
    candidates = None
    if run is not None:
        try:
            candidates = run.read(collection, depth)
        except UserError as error:
            problems = problems + error.problems
    columns = [*source.columns(), *(run.columns() if run is not None else [])]
    return _faults(problems) + findings(collection, candidates, tokenizer, max_length) + columns


def _faults(problems: Sequence[str]) -> list[Finding]:
    effect = "no experiment starts until this is fixed"
    return [Finding("error", problem, 1, (), effect) for problem in problems]


def table(found: Sequence[Finding]) -> Table:
    """The findings as a table for the terminal; nothing in them is taken as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("", "finding", "count", "for example", "effect on the figures"):
        out.add_column(name, justify="right" if name == "count" else "left", overflow="fold")
    for one in found:
        cells = (one.severity, one.what, f"{one.count:,}", ", ".join(one.examples), one.effect)
        out.add_row(*(Text(visible(cell)) for cell in cells), style=_COLOURS[one.severity])
    return out


def _sizes(collection: Collection) -> list[Finding]:
    size = "the more documents, the harder the search"
    documents = Finding("info", "documents", len(collection.corpus), (), size)
    if not collection.judged:
        queries = len(collection.query_ids)
        return [documents, Finding("info", "queries", queries, (), "each is answered by every arm")]
    grades, counts = np.unique(collection.judged_grade, return_counts=True)
    spread = tuple(f"grade {g}: {n:,}" for g, n in zip(grades.tolist(), counts.tolist(), strict=True))
    per_query = np.bincount(collection.judged_query, minlength=len(collection.query_ids))
    middle = (f"median {np.median(per_query):g} judgements", f"most {per_query.max()}")
    return [
        documents,
        Finding("info", "judged queries", len(collection.query_ids), middle, _precision(per_query)),
        Finding("info", "judgements", len(collection.judged_grade), spread, _grades(collection)),
    ]


def _precision(per_query: NDArray[np.int64]) -> str:
    """How far a mean over so many queries may be off: values between 0 and 1 spread by at most 0.5."""
    return f"95% margin of error of a mean over these queries: at most ±{0.98 / np.sqrt(len(per_query)):.3f}"


def _grades(collection: Collection) -> str:
    threshold = collection.relevance_threshold
    return f"nDCG uses the grades as gains; for the other measures, grade {threshold} or higher is relevant"
