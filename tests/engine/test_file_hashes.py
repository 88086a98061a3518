"""Remembered file hashes: never stale, whatever happens to the file or to the memo."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from rerankbench.engine.store import file_hashes
from rerankbench.engine.store.file_hashes import FileHashes

OLD = time.time_ns() - 60 * 10**9


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def files_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "SETTLED_NS", -(10**15))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were really read."""
    seen: list[str] = []

    def counted(file: Path) -> str:
        seen.append(file.name)
        return sha256(file.read_bytes())

    monkeypatch.setattr(file_hashes, "sha256_of", counted)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    return file


def test_a_file_is_read_once(file: Path, tmp_path: Path, reads: list[str]) -> None:
    for _ in range(3):
        assert FileHashes(tmp_path / "memo.json").sha256(file) == sha256(b"one")
    assert reads == ["weights"]


def test_links_share_the_memory_of_their_file(file: Path, tmp_path: Path, reads: list[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    hashes = FileHashes(tmp_path / "memo.json")
    assert hashes.sha256(file) == hashes.sha256(link)
    assert reads == ["weights"]


def test_a_change_with_the_same_size_and_time_is_noticed(file: Path, tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path / "memo.json")
    os.utime(file, ns=(OLD, OLD))
    assert hashes.sha256(file) == sha256(b"one")
    time.sleep(0.01)  # longer than the kernel's clock tick, which ctime counts in
    with file.open("r+b") as stream:
        stream.write(b"two")
    os.utime(file, ns=(OLD, OLD))
    assert hashes.sha256(file) == sha256(b"two")


def test_a_replaced_file_is_noticed(file: Path, tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path / "memo.json")
    hashes.sha256(file)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.replace(other, file)
    assert hashes.sha256(file) == sha256(b"two")


def test_a_file_that_was_just_written_is_not_remembered(
    file: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "SETTLED_NS", 2 * 10**9)
    hashes = FileHashes(tmp_path / "memo.json")
    for _ in range(2):
        hashes.sha256(file)
    assert reads == ["weights", "weights"]


@pytest.mark.parametrize("memo", ["", "{", "[]", "null", '{"a": 1}', '{"a": {"stamp": 1}}', "\x00"])
def test_a_broken_memo_costs_only_time(file: Path, tmp_path: Path, memo: str) -> None:
    (tmp_path / "memo.json").write_text(memo)
    assert FileHashes(tmp_path / "memo.json").sha256(file) == sha256(b"one")
    assert str(file) in json.loads((tmp_path / "memo.json").read_text())


def test_a_memo_that_cannot_be_written_costs_only_time(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    assert FileHashes(tmp_path / "taken" / "memo.json").sha256(file) == sha256(b"one")


def test_what_others_wrote_meanwhile_is_kept_and_what_is_gone_is_dropped(file: Path, tmp_path: Path) -> None:
    ours, theirs = (FileHashes(tmp_path / "memo.json") for _ in range(2))
    second, gone = tmp_path / "second", tmp_path / "gone"
    second.write_bytes(b"two")
    gone.write_bytes(b"three")
    theirs.sha256(file)
    theirs.sha256(gone)
    gone.unlink()
    ours.sha256(second)
    assert set(json.loads((tmp_path / "memo.json").read_text())) == {str(file), str(second)}
