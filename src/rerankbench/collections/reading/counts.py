"""What is counted while a collection is put together: left out, missing, or of no effect."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import category

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding, noticed, of_ids
from rerankbench.collections.reading.lost_zeros import lost_zeros

_USUAL_GRADES = 3  # no more of them differ in most collections


def query_findings(query_ids: pa.ChunkedArray, judged_ids: pa.Array, left_out: int) -> list[Finding]:
    """About the ids of the queries file against those of the judgements; left_out: by limit_queries."""
    unjudged = query_ids.filter(pc.invert(pc.is_in(query_ids, value_set=judged_ids)))
    stray = judged_ids.filter(pc.invert(pc.is_in(judged_ids, value_set=query_ids))).unique()
    none = "queries without judgements in this split"
    lost = "judged queries that the queries file does not have"
    cut = "judged queries left out by limit_queries"
    return noticed(
        of_ids("info", none, unjudged, "left out, means are over judged ones"),
        of_ids("warning", lost, stray, "left out of every mean"),
        *lost_zeros(stray, query_ids, "query ids of judgements"),
        Finding("warning", cut, left_out, (), "figures are for a quick look"),
    )


def document_findings(missing: pa.Array, known: pa.ChunkedArray) -> list[Finding]:
    """About judged documents, each once, that are not among the `known` ids of the corpus."""
    effect = "they cannot be retrieved but count in the ideal ranking, which keeps recall and nDCG below 1"
    return noticed(
        of_ids("warning", "judged documents that the corpus does not have", missing, effect),
        *lost_zeros(missing, known, "document ids of judgements"),
    )


def grade_findings(
    judged_query: NDArray[np.int32], grades: NDArray[np.int32], threshold: int
) -> list[Finding]:
    """About grades that gain nothing; judged_query counts from 0 without gaps."""
    relevant = np.bincount(judged_query, weights=grades >= threshold)
    what = f"judged queries without a document of grade {threshold} or more"
    effect = "recall, MRR and success are 0 for them whatever the ranking"
    below = int((grades < 0).sum())
    return noticed(
        Finding("info", "judgements below 0", below, (), "they add nothing to nDCG, as if the grade were 0"),
        Finding("warning", what, int((relevant == 0).sum()), (), effect),
    )


def exchange_findings(doc_ids: pa.Array, grades: NDArray[np.int32]) -> list[Finding]:
    """About judgements whose documents and grades may stand in each other's column: both are numbers."""
    kinds, documents = len(np.unique(grades)), len(doc_ids.unique())
    what = f"different grades, of only {documents:,} different documents"
    effect = "are the columns of documents and grades exchanged? name them"
    exchanged = kinds > max(documents, _USUAL_GRADES)
    return noticed(Finding("warning", what, kinds if exchanged else 0, (), effect))


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen."""
    return not text.strip() or all(c.isspace() or category(c) in ("Cc", "Cf") for c in text)


def text_findings(query_ids: Sequence[str], texts: Sequence[str]) -> list[Finding]:
    """About judged queries that ask nothing."""
    empty = [query_id for query_id, text in zip(query_ids, texts, strict=True) if is_blank(text)]
    return noticed(of_ids("warning", "judged queries without text", empty, "there is nothing to search for"))


def sample_findings(kept: int, judged: int, total: int) -> list[Finding]:
    """About a corpus reduced by sample_docs."""
    effect = f"{kept:,} kept, all {judged:,} judged ones too; a smaller corpus makes figures higher"
    return noticed(Finding("warning", "documents left out by sample_docs", total - kept, (), effect))
