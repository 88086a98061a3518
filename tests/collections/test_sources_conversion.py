"""Corpora beyond memory: written once as Arrow, memory-mapped, and rebuilt when anything is amiss."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from collections_on_disk import beir, jsonl
from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading import conversion
from rerankbench.collections.sources.beir import Beir

DOCUMENTS = [
    (f"d{number}", "" if number % 3 else f"标题 {number}", f"text {number} " * 50) for number in range(500)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return beir(tmp_path / "large", documents=DOCUMENTS, judgements=[("q1", "d0", 1), ("q2", "d499", 1)])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "IN_MEMORY_BYTES", 10_000)
    monkeypatch.setattr("rerankbench.collections.reading.records._BATCH_ROWS", 64)


def load(folder: Path, cache: Path) -> Collection:
    return Beir(path=str(folder)).load(cache)


def kept(cache: Path, pattern: str = "*.arrow") -> list[Path]:
    return sorted((cache / "corpora").glob(pattern))


def test_a_kept_corpus_equals_one_in_memory(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = load(folder, cache)
    again = load(folder, cache)
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "IN_MEMORY_BYTES", 1 << 40)
        in_memory = load(folder, cache.with_name("unused"))
    assert not cache.with_name("unused").exists()
    assert mapped.fingerprint() == again.fingerprint() == in_memory.fingerprint()
    assert [len(kept(cache)), len(kept(cache, "*"))] == [1, 2]
    rows = np.random.default_rng(0).integers(0, 500, 1000)
    assert mapped.corpus.texts(rows) == again.corpus.texts(rows) == in_memory.corpus.texts(rows)
    assert mapped.corpus.rows([f"d{row}" for row in rows]).tolist() == rows.tolist()


def test_the_source_is_read_once(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder, cache)
    read = []
    original = conversion.read_rows
    monkeypatch.setattr(
        conversion, "read_rows", lambda path, *rest: read.append(path) or original(path, *rest)
    )
    monkeypatch.setattr(conversion, "_spill", lambda *_: pytest.fail("converted again"))
    load(folder, cache)


def test_a_changed_source_or_column_is_another_corpus(folder: Path, cache: Path) -> None:
    before = load(folder, cache).fingerprint()
    text = (folder / "corpus.jsonl").read_text()
    (folder / "corpus.jsonl").write_text(text.replace("text 7 ", "text 8 "))
    assert load(folder, cache).fingerprint() != before
    (folder / "corpus.jsonl").write_text(text)
    assert load(folder, cache).fingerprint() == before
    assert len(kept(cache)) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no note", "broken note"])
def test_a_damaged_copy_is_rebuilt(folder: Path, cache: Path, damage: str) -> None:
    fingerprint = load(folder, cache).fingerprint()
    arrow, note = kept(cache)[0], kept(cache, "*.json")[0]
    whole = arrow.read_bytes()
    match damage:
        case "flip":
            at = whole.index(b"text 250")
            arrow.write_bytes(whole[:at] + b"t3xt 250" + whole[at + 8 :])
        case "cut":
            arrow.write_bytes(whole[:-100])
        case "empty":
            arrow.write_bytes(b"")
        case "no note":
            note.unlink()
        case "broken note":
            note.write_text("{")
    assert load(folder, cache).fingerprint() == fingerprint
    assert kept(cache)[0].read_bytes() == whole
    assert json.loads(note.read_text())["numeric_ids"] == 0


def test_notes_are_the_same_from_the_copy(folder: Path, cache: Path) -> None:
    rows = [{"_id": number, "text": "x" * 100} for number in range(500)]
    jsonl(folder / "corpus.jsonl", rows)
    (folder / "qrels/test.tsv").write_text("q1\t3\t1\n")
    first = load(folder, cache).notes
    assert first == load(folder, cache).notes
    assert any("ids in corpus.jsonl are numbers: 500" in note for note in first)


@pytest.mark.parametrize("fault", ['{"_id": "d7", "text": "again"}', '{"_id": "d500"}', "not JSON"])
def test_nothing_is_kept_of_a_faulty_source(folder: Path, cache: Path, fault: str) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(fault + "\n")
    with pytest.raises(UserError, match=r"corpus.jsonl:501: "):
        load(folder, cache)
    assert kept(cache, "*") == []
    collection, _ = Beir(path=str(folder)).inspect(cache)
    assert collection is not None
    assert len(collection.corpus) == 500


def test_a_cache_that_cannot_be_written_is_told(folder: Path, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    with pytest.raises(
        UserError, match=r"cannot keep the corpus in .*corpora.*: set cache_dir to a disk with room"
    ):
        load(folder, cache)


def test_a_stopped_conversion_leaves_nothing(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = conversion.read_records

    def interrupted(*arguments: object) -> object:
        for number, batch in enumerate(original(*arguments)):  # type: ignore[arg-type]
            if number == 5:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(conversion, "read_records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(folder, cache)
    assert kept(cache, "*") == []


def test_what_a_killed_process_left_is_removed_a_day_later(folder: Path, cache: Path) -> None:
    (cache / "corpora").mkdir(parents=True)
    old, new = cache / "corpora" / "old.tmp", cache / "corpora" / "new.tmp"
    for path, age in ((old, 25 * 3600), (new, 3600)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    load(folder, cache)
    assert (old.exists(), new.exists()) == (False, True)


def test_reading_a_mapped_corpus_lets_go_of_its_pages(folder: Path, cache: Path) -> None:
    documents = [{"_id": str(number), "text": f"{number} " + "x" * 4000} for number in range(10_000)]
    jsonl(folder / "corpus.jsonl", documents)
    (folder / "qrels/test.tsv").write_text("q1\t3\t1\n")
    corpus = load(folder, cache).corpus
    before = mapped_megabytes()
    corpus.digest()
    assert len(corpus.texts(np.arange(10_000))) == 10_000
    assert mapped_megabytes() - before < 20  # of 40


def mapped_megabytes() -> float:
    """Resident pages of mapped files, as the system counts them."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the system does not tell resident pages")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssFile"))
    return int(line.split()[1]) / 1024
