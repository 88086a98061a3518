"""What contestants are asked about: queries in the order of the race, and the candidates of the runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.collections.collection import Collection
from rerankbench.experiment.settings import Experiment
from rerankbench.report.arms.runs import SCORES, Run
from rerankbench.report.race.contestant import settings
from rerankbench.report.race.entrants import FIRST_STAGE, Entrant

SEED = 0  # of the order in which queries are taken
SPREAD = 512  # queries whose order goes by their work: more than a race of minutes gets through


@dataclass
class Texts:
    """The queries' texts and, by first stage, each query's candidates as the runs had them."""

    collection: Collection
    rows: Mapping[str, Mapping[str, list[str]]]
    order: tuple[int, ...]

    @property
    def ids(self) -> list[str]:
        """Query ids in the order of the race."""
        return [self.collection.query_ids[number] for number in self.order]

    def query(self, place: int) -> str:
        return self.collection.query_texts[self.order[place]]

    def work(self, place: int) -> int:
        """Characters of all candidates of a query: about what the race has to do for it."""
        ids = [name for found in self.rows.values() for name in found.get(self.ids[place], [])]
        rows = self.collection.corpus.rows(ids)
        return sum(map(len, self.collection.corpus.texts(rows[rows >= 0])))

    def documents(self, stage: str, place: int, depth: int) -> list[str]:
        """The texts of a query's first candidates."""
        ids = self.rows[stage].get(self.collection.query_ids[self.order[place]], [])[:depth]
        rows = self.collection.corpus.rows(ids)
        return self.collection.corpus.texts(rows[rows >= 0])


def texts_of(found: Sequence[Entrant]) -> Texts:
    """Raises UserError where the collection is not there any more, or another one now."""
    usable = [entrant for entrant in found if not entrant.why]
    if not usable:
        raise UserError(sorted({entrant.why for entrant in found}))
    collection = collection_of(usable[0].run)
    rows = {e.key: candidates(e.run) for e in found if e.kind == FIRST_STAGE}
    drawn = np.random.default_rng(SEED).permutation(len(collection.query_ids))
    texts = Texts(collection, rows, tuple(drawn.tolist()))
    places = evenly([texts.work(place) for place in range(min(SPREAD, len(drawn)))])
    return replace(texts, order=(*drawn[places].tolist(), *drawn[len(places) :].tolist()))


def experiment_of(run: Run) -> Experiment:
    """The settings that a run was made with."""
    with inside(run.command_folder):
        found: Experiment = settings(run.config)
    return found


def collection_of(run: Run) -> Collection:
    """What a run was made of. Raises UserError where it is not there any more, or another one now."""
    with inside(run.command_folder):
        experiment = settings(run.config)
        collection: Collection = experiment.dataset.load(experiment.cache_dir)
    if collection.fingerprint() != run.dataset.get("fingerprint"):
        raise UserError(
            f"{visible(run.place)}: the collection has changed since the run was made; run it again"
        )
    return collection


def evenly(work: Sequence[int]) -> list[int]:
    """The places of `work`, ordered so that however few are taken, small and large ones are among them.

    Those sorted by work are taken in van der Corput's order (1935): the first k divide the sorted row into
    parts of about the same length, so that a median over them is near the median over all.
    """
    at = np.arange(len(work), dtype=np.uint32)
    bits = max(1, len(work) - 1).bit_length()
    mirrored = np.zeros_like(at)
    for bit in range(bits):
        mirrored |= (at >> bit & 1) << (bits - 1 - bit)
    rank = np.argsort(np.argsort(mirrored, kind="stable"), kind="stable")
    return [int(place) for place in np.argsort(np.asarray(work), kind="stable")[rank]]


def candidates(run: Run) -> dict[str, list[str]]:
    """Each query's documents in first-stage order. Raises UserError where the table cannot be read."""
    try:
        table = pq.read_table(run.folder / SCORES, columns=["query_id", "doc_id", "rank"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{run.place}/{SCORES}: cannot be read ({error}); run it again") from None
    table = table.take(pc.sort_indices(table, [("query_id", "ascending"), ("rank", "ascending")]))
    found: dict[str, list[str]] = {}
    for query, document in zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True):
        found.setdefault(query, []).append(document)
    return found


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The run's folder as the current one, so that its relative paths lead where they led."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
