"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv (https://github.com/beir-cellar/beir).

Without judgements qrels/ is lacking, or not to be read: dataset.qrels=null.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rerankbench.basics.finding import Finding
from rerankbench.collections.sources.assembly import Parts
from rerankbench.collections.sources.source import Source, file_problem, name_problem
from rerankbench.collections.sources.tables import Tables

WRITE = "write the judgements there, with the columns query-id, corpus-id, score"
WITHOUT = "set dataset.qrels=null to run without judgements"
TEST, USUAL = "test", "qrels"  # the split and the folder that are read unless others are named


@dataclass(frozen=True, kw_only=True)
class Beir(Source):
    """path: the folder. split: which file of qrels/ holds the judgements.

    qrels: the folder of the judgements inside it. null, or where there is no such folder: nobody has judged
    yet; runs then show how much rerankers differ, and rerankbench-judge which judgements would decide.
    """

    kind: ClassVar[str] = "beir"

    path: str
    split: str = TEST
    qrels: str | None = USUAL

    @property
    def default_name(self) -> str:
        return self._folder.resolve().name

    def place_problems(self) -> list[str]:
        folder = self._folder
        if not self.path.strip():
            return ["dataset.path= is empty: give the folder of the collection, dataset.path=FOLDER"]
        if problem := name_problem(folder, "dataset.path"):
            return [problem]
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "there is no such folder"
            return [f"dataset.path={folder}: {what}; it should hold corpus.jsonl, queries.jsonl and qrels/"]
        if not any((folder / name).exists() for name in ("corpus.jsonl", "queries.jsonl", "qrels")):
            wanted = "corpus.jsonl, queries.jsonl and qrels/"
            return [f"dataset.path={folder}: it holds none of {wanted}; give the folder that does"]
        files = [file_problem(folder / name, "dataset.path") for name in ("corpus.jsonl", "queries.jsonl")]
        problems = [problem for problem in [*files, self._split_problem()] if problem]
        return problems or self._tables().problems()

    def read(self, cache_dir: Path) -> Parts:
        return self._tables().read(cache_dir)

    def places(self) -> tuple[str, ...]:
        return ("path",)

    def columns(self) -> list[Finding]:
        return self._tables().columns()

    @property
    def _folder(self) -> Path:
        return Path(self.path).expanduser()

    def _tables(self) -> Tables:
        return Tables(
            corpus=self._folder / "corpus.jsonl",
            queries=self._folder / "queries.jsonl",
            judgements=None if self._judged is None else self._judged / f"{self.split}.tsv",
        )

    @property
    def _judged(self) -> Path | None:
        """The folder of the judgements; None where nobody has judged yet."""
        if self.qrels is None:
            return None
        folder = self._folder / self.qrels
        asked = self.split != TEST or self.qrels != USUAL  # who names a split expects judgements
        return folder if asked or folder.exists() else None

    def _split_problem(self) -> str | None:
        if (qrels := self._judged) is None:
            return None
        have = sorted(path.stem for path in qrels.glob("*.tsv"))
        if self.split not in have:  # also refuses a split such as ../../elsewhere
            what = f"dataset.split={self.split}: no {qrels / self.split}.tsv"
            return f"{what}; splits here: {', '.join(have)}" if have else f"{what}; {WRITE}, or {WITHOUT}"
        return file_problem(qrels / f"{self.split}.tsv", "dataset.split")
