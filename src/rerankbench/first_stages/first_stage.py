"""What every first stage is: settings that, given a collection, find candidates for each query."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rerankbench.basics import typed_json
from rerankbench.basics.arrays import Ints
from rerankbench.basics.finding import Finding
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.engine.store.lock import SUFFIX, hold
from rerankbench.engine.store.rows import identity, read_array, text_keys, write_array, write_atomic
from rerankbench.first_stages.index import recall_notes
from rerankbench.first_stages.search_context import SearchContext

STORED = np.dtype([("row", "<i8"), ("score", "<f4")])
Searcher = Callable[[str], Any]


@dataclass(frozen=True)
class FirstStage(ABC):
    """Settings of a first stage; a kind is one file in this folder, found under `kind`."""

    kind: ClassVar[str]

    def problems(self) -> list[str]:
        """Impossible settings, one line each; reads nothing large."""
        return []

    def embeds(self) -> bool:
        """Whether the configured embedder and index are used at all."""
        return False

    @abstractmethod
    def search(self, collection: Collection, depth: int, context: SearchContext) -> Candidates:
        """The `depth` best candidates of every query."""

    @abstractmethod
    def identity(self, context: SearchContext) -> dict[str, Any]:
        """Everything besides the collection's texts that determines the candidates."""

    def searcher(self, collection: Collection, depth: int, context: SearchContext) -> Searcher | None:
        """A function that searches for one query as a service would, or None where nothing is searched."""
        return None

    def lacking(self, collection: Collection, context: SearchContext) -> str:
        """What `searcher` would have to compute first that is no part of a search; empty if nothing."""
        return ""

    def retrieve(self, collection: Collection, depth: int, context: SearchContext) -> tuple[Candidates, str]:
        """Candidates [queries, depth] and their identity: read where they were found before, else found."""
        key = self.key(collection, depth, context)
        found = self.stored(collection, depth, context)
        if found is None:
            folder = context.cache_dir / "candidates"
            folder.mkdir(parents=True, exist_ok=True)
            with hold(folder / f"{key}{SUFFIX}", "finding candidates"):  # others wait for the first
                found = self.stored(collection, depth, context)
                found = found or self.find_and_keep(collection, depth, context, key)
        return found, key

    def find_and_keep(
        self, collection: Collection, depth: int, context: SearchContext, key: str
    ) -> Candidates:
        """Search, and write down what was found and what it is."""
        found = self.find(collection, depth, context)
        stored = np.empty(found.rows.shape, STORED)
        stored["row"], stored["score"] = found.rows, found.scores
        note = {  # for people, and for `rerankbench-cache list`
            "label": f"{self.kind}@{depth} of {collection.name}",
            "first_stage": self.identity(context),
            "index": dict(found.index),
            "findings": [asdict(finding) for finding in found.findings],
        }
        file = context.cache_dir / "candidates" / f"{key}.json"
        write_atomic(file, json.dumps(note, indent=2, ensure_ascii=False).encode())
        write_array(context.cache_dir / "candidates", key, stored)
        return found

    def stored(self, collection: Collection, depth: int, context: SearchContext) -> Candidates | None:
        """The candidates that an earlier run found."""
        name = self.key(collection, depth, context)
        array = read_array(context.cache_dir / "candidates", name) if context.reuse else None
        if array is None:
            return None
        measures, findings = read_description(context.cache_dir / "candidates" / f"{name}.json")
        rows, scores = np.array(array["row"]), np.array(array["score"])
        return Candidates(rows, scores, recall_notes(measures), index=measures).with_findings(findings)

    def key(self, collection: Collection, depth: int, context: SearchContext) -> str:
        """Identity of the candidates: the stage, the texts, and how many are kept."""
        parts = {
            "first_stage": self.identity(context),
            "corpus": collection.corpus.digest(),
            "queries": [key.hex() for key in text_keys(collection.query_texts).tolist()],
            "query_ids": collection.query_ids if collection.drop_same_id else None,
            "depth": depth,
        }
        return identity(parts)

    def find(self, collection: Collection, depth: int, context: SearchContext) -> Candidates:
        """Search, one deeper where a document equal to its query is going to be left out."""
        if not collection.drop_same_id:
            return self.search(collection, depth, context)
        found = self.search(collection, depth + 1, context)
        same = collection.corpus.rows(collection.query_ids)
        return without(found, same, depth)


FINDINGS = TypeAdapter(list[Finding])


def read_description(note: Path) -> tuple[dict[str, float], list[Finding]]:
    """What was measured of the index, and what there was to say, when stored candidates were found."""
    found = typed_json.note(note, typed_json.OBJECT) or {}
    measured = found.get("index")
    if not isinstance(measured, dict) or any(type(value) not in (int, float) for value in measured.values()):
        measured = {}
    try:
        return measured, FINDINGS.validate_python(found.get("findings", []))
    except ValidationError:
        return measured, []


def without(found: Candidates, rows: Ints, depth: int) -> Candidates:
    """Candidates without the row `rows[q]` in query q's list, cut to `depth`."""
    drop = (found.rows == rows[:, None]) & (found.rows >= 0)
    order = np.argsort(drop, axis=1, kind="stable")  # what stays moves up, in order
    kept_rows = np.where(drop, -1, found.rows)
    kept_scores = np.where(drop, -np.inf, found.scores).astype(np.float32)
    return Candidates(
        np.take_along_axis(kept_rows, order, axis=1)[:, :depth],
        np.take_along_axis(kept_scores, order, axis=1)[:, :depth],
        found.notes,
        found.findings,
        found.index,
    )
