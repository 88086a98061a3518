"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv (https://github.com/beir-cellar/beir)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rerankbench.sources.assembly import Parts
from rerankbench.sources.source import Source, file_problem
from rerankbench.sources.tables import Tables


@dataclass(frozen=True, kw_only=True)
class Beir(Source):
    """path: the folder. split: which file of qrels/ holds the judgements."""

    kind: ClassVar[str] = "beir"

    path: str
    split: str = "test"

    @property
    def default_name(self) -> str:
        return Path(self.path).resolve().name

    @property
    def split_name(self) -> str:
        return self.split

    def place_problems(self) -> list[str]:
        folder = Path(self.path)
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "there is no such folder"
            return [f"dataset.path={folder}: {what}; it should hold corpus.jsonl, queries.jsonl and qrels/"]
        files = [
            file_problem(path, "dataset.path") for path in (folder / "corpus.jsonl", folder / "queries.jsonl")
        ]
        return [problem for problem in [*files, self._split_problem(folder / "qrels")] if problem]

    def read(self, cache_dir: Path) -> Parts:
        folder = Path(self.path)
        return Tables(
            corpus=folder / "corpus.jsonl",
            queries=folder / "queries.jsonl",
            judgements=folder / "qrels" / f"{self.split}.tsv",
        ).read(cache_dir)

    def _split_problem(self, qrels: Path) -> str | None:
        have = sorted(path.stem for path in qrels.glob("*.tsv"))
        if self.split not in have:  # also refuses a split such as ../../elsewhere
            splits = ", ".join(have) or "none"
            return f"dataset.split={self.split}: no {qrels / self.split}.tsv; splits here: {splits}"
        return file_problem(qrels / f"{self.split}.tsv", "dataset.split")
