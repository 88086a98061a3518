"""The texts of a sweep's queries and documents, from the collection that its runs were made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.collections.collection import Collection
from rerankbench.report.arms.runs import CONFIG, Run
from rerankbench.report.race.texts import collection_of


@dataclass(frozen=True)
class Texts:
    """A collection whose texts are found by id."""

    collection: Collection

    @cached_property
    def queries(self) -> dict[str, str]:
        return dict(zip(self.collection.query_ids, self.collection.query_texts, strict=True))

    def parts(self, doc_id: str) -> tuple[str, str]:
        """A document as a person reads it: its title, if it counts, and its text."""
        rows = self.collection.corpus.rows([doc_id])
        return self.collection.corpus.parts(rows)[0] if rows[0] >= 0 else ("", "")

    def alike(self, doc_ids: Sequence[str]) -> list[list[str]]:
        """Groups of documents that read the same, in the order given; without those not in the corpus."""
        corpus = self.collection.corpus
        rows = corpus.rows(list(doc_ids))
        there = [doc_id for doc_id, row in zip(doc_ids, rows.tolist(), strict=True) if row >= 0]
        groups: dict[tuple[str, str], list[str]] = {}
        for doc_id, parts in zip(there, corpus.parts(rows[rows >= 0]), strict=True):
            groups.setdefault(parts, []).append(doc_id)
        return list(groups.values())

    def documents(self, doc_ids: Sequence[str]) -> list[str]:
        """The texts of documents, empty for one that is not in the corpus."""
        rows = self.collection.corpus.rows(list(doc_ids))
        found = iter(self.collection.corpus.texts(rows[rows >= 0]))
        return [next(found) if row >= 0 else "" for row in np.asarray(rows).tolist()]


def texts_of(runs: Sequence[Run]) -> Texts:
    """Raises UserError where the collection is not there any more, or is another one now."""
    done = [run for run in runs if not run.failed]
    usable = [run for run in done if run.config.is_file()]
    if not usable:
        place = done[0].place if done else "the runs"
        raise UserError(f"{visible(place)}: has no {CONFIG}, by which its collection could be loaded again")
    return Texts(collection_of(usable[0]))
