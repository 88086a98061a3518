"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv (https://github.com/beir-cellar/beir).

Without judgements qrels/ is lacking, or not to be read: dataset.qrels=null.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rerankbench.basics.finding import Finding
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.column_guess import setting
from rerankbench.collections.reading.lines import COMPRESSED, suffix
from rerankbench.collections.reading.tables import Tables
from rerankbench.collections.sources.source import Source, file_problem, name_problem

WRITE = "write the judgements there, with the columns query-id, corpus-id, score"
WITHOUT = "set dataset.qrels=null to run without judgements"
_TEXTS = ("corpus.jsonl", "queries.jsonl")
_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".qrels", ".trec")
TEST, USUAL = "test", "qrels"  # the split and the folder that are read unless others are named


@dataclass(frozen=True, kw_only=True)
class Beir(Source):
    """path: the folder. split: which file of qrels/ holds the judgements. Files may be compressed, .gz behind
    their names.

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
        files = [file_problem(self._file(name), "dataset.path") for name in _TEXTS]
        problems = [problem for problem in [*files, self._split_problem()] if problem]
        if problems and (instead := self._as_files()):
            what = "holds a collection under other names"
            return [f"dataset.path={folder}: {what}; instead of dataset.path, give {instead}"]
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
        qrels = self._judged
        return Tables(
            corpus=self._file("corpus.jsonl"),
            queries=self._file("queries.jsonl"),
            judgements=None if qrels is None else plain_or_compressed(qrels / f"{self.split}.tsv"),
        )

    def _file(self, name: str) -> Path:
        return plain_or_compressed(self._folder / name)

    def _as_files(self) -> str | None:
        """The settings that read the files of the folder under their own names, if these differ."""
        qrels = self._judged
        texts = all(self._file(name).exists() for name in _TEXTS)
        if texts and (qrels is None or any(qrels.glob("*.tsv*"))):
            return None
        files = [path for place in (self._folder, self._folder / USUAL) for path in _held(place)]
        readable = [path for path in files if path.is_file() and suffix(path) in _FORMATS]
        words = ["dataset=files"]
        for key, starts in (("corpus", "corpus"), ("queries", "quer"), ("qrels", ("qrel", self.split))):
            found = [path for path in readable if path.name.casefold().startswith(starts)]
            if len(found) != 1:
                return None
            words.append(setting(f"dataset.{key}", str(found[0])))
        return " ".join(words)

    @property
    def _judged(self) -> Path | None:
        """The folder of the judgements; None where nobody has judged yet."""
        if self.qrels is None:
            return None
        folder = self._folder / self.qrels
        asked = self.split != TEST or self.qrels != USUAL  # who names a split expects judgements
        beside = any(path.name.casefold().startswith("qrel") for path in _held(self._folder))
        return folder if asked or beside else None

    def _split_problem(self) -> str | None:
        if (qrels := self._judged) is None:
            return None
        have = sorted({path.name.partition(".tsv")[0] for path in qrels.glob("*.tsv*")})
        if self.split not in have:  # also refuses a split such as ../../elsewhere
            what = f"dataset.split={self.split}: no {qrels / self.split}.tsv"
            return f"{what}; splits here: {', '.join(have)}" if have else f"{what}; {WRITE}, or {WITHOUT}"
        return file_problem(plain_or_compressed(qrels / f"{self.split}.tsv"), "dataset.split")


def plain_or_compressed(path: Path) -> Path:
    """The file, or where there is none the one that holds it compressed."""
    every = (path, *(path.with_name(path.name + ending) for ending in COMPRESSED))
    return next((one for one in every if one.exists()), path)


def _held(folder: Path) -> list[Path]:
    """What a folder holds; nothing where it cannot be looked into."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []
