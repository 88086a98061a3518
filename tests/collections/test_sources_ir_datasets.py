"""Collections of ir_datasets, on a small one registered here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault(
    "IR_DATASETS_HOME", "/nonexistent/ir_datasets"
)  # nothing here may read or fill a real one

import ir_datasets
import pytest
from ir_datasets import formats

from rerankbench.basics.errors import UserError
from rerankbench.collections.reading import conversion
from rerankbench.collections.sources.ir_datasets import IrDatasets


class Titled(NamedTuple):
    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


@pytest.fixture
def register() -> Iterator[Any]:
    """Register datasets for one test."""
    names: list[str] = []

    def add(name: str, dataset: Any) -> None:
        ir_datasets.registry.register(name, dataset)
        names.append(name)

    yield add
    for name in names:
        del ir_datasets.registry._registered[name]


@pytest.fixture
def tiny(tmp_path: Path, register: Any) -> Path:
    (tmp_path / "docs.tsv").write_text('007\tBond, "James"\nd2\t第二\n', encoding="utf-8")
    (tmp_path / "queries.tsv").write_text("q1\twho?\nq2\tunjudged\n")
    (tmp_path / "qrels").write_text("q1 0 007 2\nq1 0 gone 1\nq1 0 d2 -1\n")
    files = {"docs_tsv": "docs.tsv", "queries_tsv": "queries.tsv", "qrels_trec": "qrels"}
    register(
        "tiny/test", ir_datasets.create_dataset(**{key: str(tmp_path / name) for key, name in files.items()})
    )
    return tmp_path


def test_any_dataset_with_docs_queries_and_qrels(tiny: Path) -> None:
    collection = IrDatasets(id="tiny/test").load(tiny / "cache")
    assert (collection.name, collection.split) == ("tiny/test", "test")
    assert (collection.corpus.ids(), collection.query_ids) == (["007", "d2"], ["q1"])
    assert collection.corpus.texts(collection.corpus.rows(["d2", "007"])) == ["第二", 'Bond, "James"']
    assert (collection.judged_row.tolist(), collection.judged_grade.tolist()) == ([0, -1, 1], [2, 1, -1])
    assert collection.missing_ids == ("gone",)
    assert not (tiny / "cache").exists()


def test_large_ones_are_kept_and_streamed_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = IrDatasets(id="tiny/test").load(tiny / "cache").fingerprint()
    monkeypatch.setattr(conversion, "IN_MEMORY_BYTES", 1)
    assert IrDatasets(id="tiny/test").load(tiny / "cache").fingerprint() == in_memory
    monkeypatch.setattr(IrDatasets, "_text", lambda *_: pytest.fail("read again"))
    assert IrDatasets(id="tiny/test").load(tiny / "cache").fingerprint() == in_memory


def test_a_changed_dataset_is_read_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "IN_MEMORY_BYTES", 1)
    before = IrDatasets(id="tiny/test").load(tiny / "cache").fingerprint()
    (tiny / "docs.tsv").write_text("007\tanother text\nd2\t第二\n", encoding="utf-8")
    assert IrDatasets(id="tiny/test").load(tiny / "cache").fingerprint() != before


class Documents(formats.BaseDocs):  # type: ignore[misc]
    def __init__(self, documents: Iterable[Titled]) -> None:
        self.documents = documents

    def docs_iter(self) -> Iterator[Titled]:
        return iter(self.documents)


class Questions(formats.BaseQueries):  # type: ignore[misc]
    def queries_iter(self) -> Iterator[formats.GenericQuery]:
        return iter([formats.GenericQuery("q", "question")])


class Answers(formats.BaseQrels):  # type: ignore[misc]
    def qrels_iter(self) -> Iterator[formats.GenericQrel]:
        return iter([formats.GenericQrel("q", "a", 1)])


def of(documents: Iterable[Titled]) -> ir_datasets.Dataset:
    """A dataset of these documents with one query, for which document a is relevant."""
    return ir_datasets.Dataset(Documents(documents), Questions(), Answers())


def unreachable() -> Iterator[Titled]:
    yield Titled("a", "", "")
    raise ConnectionError("no\nroute")


def test_titles_are_joined_as_ir_datasets_does_or_not(tmp_path: Path, register: Any) -> None:
    register("titled", of([Titled("a", "Title", "text")]))
    assert IrDatasets(id="titled").load(tmp_path).corpus.texts(
        IrDatasets(id="titled").load(tmp_path).judged_row
    ) == ["Title text"]
    bare = IrDatasets(id="titled", join_titles=False).load(tmp_path)
    assert bare.corpus.texts(bare.judged_row) == ["text"]


def test_faults_are_told_by_row(tmp_path: Path, register: Any) -> None:
    register("faulty", of([Titled("a", "", "x"), Titled("a", "", "y"), Titled("", "", "z")]))
    with pytest.raises(UserError) as caught:
        IrDatasets(id="faulty").load(tmp_path)
    assert caught.value.problems == [
        "faulty docs row 3: the id is empty, '': give every record an id",
        "faulty docs row 2: the id 'a' was used by row 1: ids are unique, rename or remove one",
    ]


def test_an_unknown_id_and_one_without_judgements_are_told(tmp_path: Path, register: Any) -> None:
    with pytest.raises(UserError, match=r"dataset.id=no/such: ir_datasets has no such dataset"):
        IrDatasets(id="no/such").load(tmp_path)
    (tmp_path / "docs.tsv").write_text("a\tb\n")
    register("docs-only", ir_datasets.create_dataset(docs_tsv=str(tmp_path / "docs.tsv")))
    with pytest.raises(UserError, match=r"dataset.id=docs-only: has no queries and no qrels; add the split"):
        IrDatasets(id="docs-only").load(tmp_path)


def test_whatever_ir_datasets_raises_is_one_line(tmp_path: Path, register: Any) -> None:
    register("broken", of(unreachable()))
    with pytest.raises(UserError) as caught:
        IrDatasets(id="broken").load(tmp_path)
    assert caught.value.problems == [
        "dataset.id=broken: could not be read (ConnectionError: no route); "
        "check the connection, or fetch the files by hand as ir_datasets says"
    ]


def test_a_missing_package_is_told_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IrDatasets(id="tiny/test").problems() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert IrDatasets(id="tiny/test").problems() == [
        "dataset.id=tiny/test: the package ir_datasets is not installed; "
        "pip install 'rerankbench[ir-datasets]'"
    ]
