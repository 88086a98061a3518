"""What stands under a verdict: on which data it rests."""

from __future__ import annotations

from collections.abc import Mapping

from rerankbench.report.findings import Findings
from rerankbench.report.wording import counted


def subtitle(findings: Findings) -> str:
    """Collection, documents, queries, judgements, arms and runs in one line."""
    data, contest = findings.dataset, findings.contest
    reduced = " (reduced: a quick look, not a result)" if findings.reduced else ""
    failed = f", {len(contest.failed)} failed" if contest.failed else ""
    by = f" ({findings.settled.judged_by})" if findings.settled else ""
    return (
        f"{data.get('name')}, split {data.get('split')}{reduced}: {number(data.get('docs'))} documents, "
        f"{len(contest.query_ids):,} judged{synthetic(data)} queries, "
        f"{number(data.get('judgements'))} judgements{by}. "
        f"{counted(len(contest.arms), 'arm')} of {counted(len(contest.runs) + len(contest.failed), 'run')}"
        f"{failed}, compared by {findings.measure}."
    )


def synthetic(dataset: Mapping[str, object]) -> str:
    """Whether queries were written by a language model, as a word to stand before "queries"."""
    return " synthetic" if dataset.get("synthetic_queries") else ""


def number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
