"""Collections of ir_datasets (https://ir-datasets.com): any with documents, queries and judgements."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rerankbench.basics.errors import UserError
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.conversion import stored_table, table_of
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import read_judgements
from rerankbench.collections.reading.tables import numeric_ids
from rerankbench.collections.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class IrDatasets(Source):
    """id: the dataset's id there, its split included, such as beir/scifact/test.

    Texts are ir_datasets' `default_text()`, which joins a title by a space; with join_titles=false they are
    the documents' own `text` field. title_separator has no effect.
    """

    kind: ClassVar[str] = "ir_datasets"

    id: str

    @property
    def default_name(self) -> str:
        return self.id

    @property
    def split_name(self) -> str:
        return self.id.rpartition("/")[2]

    def place_problems(self) -> list[str]:
        if importlib.util.find_spec("ir_datasets") is None:
            cure = "pip install 'rerankbench[ir-datasets]'"
            return [f"dataset.id={self.id}: the package ir_datasets is not installed; {cure}"]
        return []

    def read(self, cache_dir: Path) -> Parts:
        dataset = self._dataset()
        logs = [FileLog(Path(f"{self.id} {part}"), "row") for part in ("docs", "queries", "qrels")]
        try:
            return self._parts(dataset, logs, cache_dir)
        except UserError:
            raise
        except Exception as error:  # ir_datasets raises whatever its many parsers and downloads raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            cure = "check the connection, or fetch the files by hand as ir_datasets says"
            raise UserError(f"dataset.id={self.id}: could not be read ({reason}); {cure}") from error

    def _parts(self, dataset: Any, logs: list[FileLog], cache_dir: Path) -> Parts:
        identity = f"ir_datasets {self.id} {_version(dataset)} {self.join_titles}"
        documents = ((one.doc_id, self._text(one)) for one in dataset.docs_iter())
        queries = ((one.query_id, one.default_text()) for one in dataset.queries_iter())
        judged = ((one.query_id, one.doc_id, one.relevance) for one in dataset.qrels_iter())
        return Parts(
            documents=stored_table(enumerate(documents, start=1), identity, logs[0], cache_dir),
            queries=table_of(enumerate(queries, start=1), logs[1]),
            judgements=read_judgements(enumerate(judged, start=1), logs[2]),
            logs=logs,
            findings=numeric_ids(logs),
        )

    def _dataset(self) -> Any:
        import ir_datasets

        try:
            dataset = ir_datasets.load(self.id)
        except KeyError:
            line = f"dataset.id={self.id}: ir_datasets has no such dataset; its ids: https://ir-datasets.com"
            raise UserError(line) from None
        lacking = [part for part in ("docs", "queries", "qrels") if not getattr(dataset, f"has_{part}")()]
        if lacking:
            what = " and no ".join(lacking)
            raise UserError(f"dataset.id={self.id}: has no {what}; add the split, such as beir/scifact/test")
        return dataset

    def _text(self, document: Any) -> object:
        return document.default_text() if self.join_titles else getattr(document, "text", None)


def _version(dataset: Any) -> str:
    """What tells one state of a dataset's documents from another, without reading them.

    docs_count() would, but it builds a second copy of many collections first.
    """
    import ir_datasets

    try:
        stat = os.stat(dataset.docs_handler().docs_path(force=False))
        return f"{ir_datasets.__version__} {stat.st_size} {stat.st_mtime_ns}"
    except (AttributeError, OSError, TypeError, ValueError):
        return str(ir_datasets.__version__)
