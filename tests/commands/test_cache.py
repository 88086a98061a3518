"""`rerankbench-cache`: what is listed, what is removed and, above all, what is left alone."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.commands.cache import compact as compaction
from rerankbench.commands.cache.command import human, main
from rerankbench.commands.cache.compact import compact_folder
from rerankbench.commands.cache.entries import entries
from rerankbench.commands.cache.leftovers import leftovers
from rerankbench.engine.models import wheels
from rerankbench.engine.store.lock import SUFFIX, hold
from rerankbench.engine.store.rows import RowStore, identity, text_keys, write_array

DAY = 86_400
PARTS = {"label": "some-model", "family": "encoder", "precision": "fp32", "max_length": 512}


def fill(folder: Path, *shards: list[str], parts: dict[str, object] = PARTS) -> RowStore:
    """A folder of scores with one shard for each list of texts; a text's score is its length."""
    store = RowStore(folder / "scores" / identity(parts), parts)
    for texts in shards:
        store.append(text_keys(texts), np.array([[len(text)] for text in texts], np.float32), [0])
    return store


def a_store(folder: Path) -> RowStore:
    """One entry of every kind, and things that are nobody's business."""
    store = fill(folder, ["a", "bb"], ["ccc"])
    write_array(folder / "candidates", "1" * 64, np.zeros((2, 3)))
    (folder / "candidates" / f"{'1' * 64}.json").write_text(json.dumps({"label": "bm25@100 of scifact"}))
    write_array(folder / "vectors" / ("2" * 64), "3" * 64, np.zeros((4, 4), np.float32))
    (folder / "models" / "tiny-0123456789ab").mkdir(parents=True)
    (folder / "models" / "tiny-0123456789ab" / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "wheels").mkdir()
    (folder / "wheels" / "some-1.0-py3-none-any.whl").write_bytes(b"x" * 500)
    write_noted(folder / "corpora" / f"{'4' * 64}.arrow", {"numeric_ids": 0})
    write_noted(folder / "indexes" / f"{'8' * 64}.faiss", {"label": "HNSW32"})
    for stranger in (
        "notes.txt",
        "models/my-model/config.json",
        "scores/old/figures.csv",
        "candidates/mine.npy",
    ):
        (folder / stranger).parent.mkdir(parents=True, exist_ok=True)
        (folder / stranger).write_text("mine")
    return store


def write_noted(path: Path, note: dict[str, object]) -> None:
    """A corpus or an index with the note that vouches for it."""
    path.parent.mkdir()
    path.write_bytes(b"content")
    note = note | {"sha256": hashlib.sha256(b"content").hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(note))


def run(folder: Path, *words: str) -> int:
    return main([*words, f"cache_dir={folder}"])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_list_names_everything_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_store(tmp_path)
    found = entries(tmp_path)
    assert {(entry.kind, entry.label) for entry in found} == {
        ("models", "tiny-0123456789ab"),
        ("wheels", "some-1.0-py3-none-any.whl"),
        ("corpora", "a large corpus, as Arrow"),
        ("vectors", "not described"),
        ("indexes", "HNSW32"),
        ("candidates", "bm25@100 of scifact"),
        ("scores", "some-model precision=fp32 max_length=512"),
    }
    assert {entry.kind: entry.bytes for entry in found}["models"] == 1000
    assert run(tmp_path, "list") == 0
    printed = capsys.readouterr().out
    assert "bm25@100 of scifact" in printed
    assert "some-model precision=fp32 max_length=512" in printed
    assert time.strftime("%Y-%m-%d") in printed
    assert "mine" not in printed
    assert run(tmp_path, "list", "wheels") == 0
    assert "1 entries, 500 B" in capsys.readouterr().out
    assert run(tmp_path, "size") == 0
    assert "models         1.0 kB  1 entries" in capsys.readouterr().out


def test_a_model_is_called_by_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "m-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"model": "Some Model (dequantized)"}))
    assert [entry.label for entry in entries(tmp_path)] == ["Some Model (dequantized)"]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_345_000_000, "2.3 GB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert human(size) == text


def test_prune_removes_what_was_named_and_nothing_else(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    before = tree(tmp_path)
    assert run(tmp_path, "prune", "scores", "candidates", "--yes") == 0
    after = tree(tmp_path)
    gone = set(before) - set(after)
    assert not store.folder.exists()
    assert {name.split("/")[0] for name in gone} == {"scores", "candidates"}
    assert {
        "notes.txt",
        "scores/old/figures.csv",
        "candidates/mine.npy",
        "models/my-model/config.json",
    } <= set(after)
    assert all(before[name] == content for name, content in after.items())
    everything = [
        "models",
        "wheels",
        "corpora",
        "datasets",
        "vectors",
        "candidates",
        "scores",
        "indexes",
        "leftovers",
    ]
    assert run(tmp_path, "prune", *everything, "--yes") == 0
    assert set(tree(tmp_path)) == {
        "notes.txt", "scores/old/figures.csv", "candidates/mine.npy", "models/my-model/config.json",
    }  # fmt: skip


def test_prune_by_age_and_identity(tmp_path: Path) -> None:
    old = fill(tmp_path, ["a"]).folder
    new = fill(tmp_path, ["a"], parts={"family": "llm"}).folder
    for path in old.iterdir():
        os.utime(path, (time.time() - 31 * DAY,) * 2)
    assert run(tmp_path, "prune", "--older-than", "32d", "--yes") == 0
    assert old.exists()
    assert run(tmp_path, "prune", "vectors", "--older-than", "30d", "--yes") == 0
    assert old.exists()
    assert run(tmp_path, "prune", "--older-than", "30d", "--yes") == 0
    assert not old.exists()
    assert new.exists()
    assert run(tmp_path, "prune", "--identity", "zzz", "--yes") == 0
    assert new.exists()
    assert run(tmp_path, "prune", "--identity", new.name[:6], "--yes") == 0
    assert not new.exists()


@pytest.mark.parametrize("answer", ["n", "", "no", None])
def test_prune_asks(
    tmp_path: Path, answer: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(_: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    store = fill(tmp_path, ["a"])
    monkeypatch.setattr("builtins.input", asked)
    assert run(tmp_path, "prune", "scores") == 1
    assert store.folder.exists()
    assert "nothing was removed" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert run(tmp_path, "prune", "scores") == 0
    assert not store.folder.exists()


def test_dry_run_removes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_store(tmp_path)
    before = tree(tmp_path)
    assert run(tmp_path, "prune", "scores", "vectors", "--yes", "--dry-run") == 0
    assert tree(tmp_path) == before
    assert "nothing was removed" in capsys.readouterr().out


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    store = fill(outside, ["a", "b"])
    precious = outside / "precious.shard"
    precious.write_text("x")
    before = tree(outside)
    cache = tmp_path / "cache"
    own = fill(cache, ["a"])
    (own.folder / "00000009-linked.shard").symlink_to(precious)
    (own.folder / "deeper").symlink_to(outside)
    (cache / "scores" / ("5" * 64)).symlink_to(store.folder)
    (cache / "vectors").symlink_to(outside / "scores")
    (cache / "candidates").mkdir()
    (cache / "candidates" / "x.damaged").symlink_to(precious)
    assert len(entries(cache)) == 1
    assert run(cache, "prune", "scores", "vectors", "candidates", "leftovers", "--yes") == 0
    assert run(cache, "verify") == 0
    assert run(cache, "compact") == 0
    assert not own.folder.exists()
    assert tree(outside) == before


def test_leftovers(tmp_path: Path) -> None:
    scores = fill(tmp_path, ["a"]).folder
    vectors = tmp_path / "vectors" / ("2" * 64)
    (vectors / f"{'6' * 64}.part").mkdir(parents=True)
    (vectors / f"{'6' * 64}.part" / "x.shard").write_text("x")
    (vectors / f"{'7' * 64}.part").mkdir()
    fresh, stale = scores / ".new.tmp", scores / ".old.tmp"
    elsewhere = scores / f"dead{SUFFIX}"
    for path in (fresh, stale, scores / "0-1.damaged", scores / "free.lock", elsewhere):
        path.write_text("x")
    (tmp_path / "models" / "x.partial").mkdir(parents=True)
    elsewhere.write_text("filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=a\nduration=120.0\n")
    shutil.copy(elsewhere, scores / f"living{SUFFIX}")
    for path in (stale, elsewhere, tmp_path / "models" / "x.partial"):
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    with hold(vectors / f"{'7' * 64}{SUFFIX}", "embedding"):  # somebody embeds block 7 at this moment
        found = {entry.paths[0].name for entry in leftovers(tmp_path)}
        assert found == {
            f"{'6' * 64}.part",
            ".old.tmp",
            "0-1.damaged",
            "free.lock",
            "dead.owner",
            "append.lock",
            "x.partial",
        }
        assert run(tmp_path, "prune", "leftovers", "--yes") == 0
        assert (vectors / f"{'7' * 64}.part").exists()
        assert fresh.exists()
    assert leftovers(tmp_path)[0].paths[0].name.startswith("7")
    assert RowStore(scores, {}).lookup(text_keys(["a"]), [0])[1].all()


def test_what_a_process_works_on_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = fill(tmp_path, ["a"])
    with hold(store.folder / f"0123456789abcdef{SUFFIX}", "scoring"):
        assert run(tmp_path, "prune", "scores", "--yes") == 0
    assert store.folder.exists()
    assert "kept, a process is working on it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["prune"], "say what to prune"),
        (["prune", "sores"], "sores: choose from models"),
        (["list", "sores"], "sores: choose from models"),
        (["prune", "scores", "--older-than", "soon"], "--older-than soon: give hours, days or weeks"),
        (["prine"], "invalid choice: 'prine'"),
        ([], "required: COMMAND"),
        (["list", "cache_dir=/nope"], "cache_dir=/nope: there is no such folder"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"cache_dir={tmp_path}", *words]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("error: ")
    assert line in error


# --- verify ---


def test_verify_finds_every_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = a_store(tmp_path)
    assert run(tmp_path, "verify") == 0
    assert "7 checked" in capsys.readouterr().out  # 2 shards, 2 arrays, corpus, index, model
    shard = sorted(store.folder.glob("*.shard"))[0]
    damaged = [shard, *tmp_path.glob("candidates/1*.npy"), *tmp_path.glob("vectors/*/*.npy")]
    damaged += [*tmp_path.glob("corpora/*.arrow"), *tmp_path.glob("indexes/*.faiss")]
    assert len(damaged) == 5
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert run(tmp_path, "verify") == 1
    printed = capsys.readouterr().out
    for path in damaged:
        assert str(path.relative_to(tmp_path)) in printed
        assert not path.exists()
        assert path.with_suffix(".damaged").exists()
    assert run(tmp_path, "verify") == 0
    assert store.lookup(text_keys(["a", "bb", "ccc"]), [0])[1].tolist() == [False, False, True]


def test_verify_reads_packaged_models_and_wheels(tmp_path: Path) -> None:
    name, model = next(iter(wheels.MODELS.items()))
    folder = tmp_path / "models" / wheels.folder_name(name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / model.wheel.file_name
    wheel.write_bytes(b"cut off")
    assert run(tmp_path, "verify") == 1
    assert not folder.exists()
    assert not wheel.exists()
    assert folder.with_name(folder.name + ".damaged").is_dir()


# --- compact ---


def values(store: RowStore, texts: list[str], columns: list[int]) -> bytes:
    return store.lookup(text_keys(texts), columns)[0].tobytes()


def test_compaction_keeps_every_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = fill(tmp_path, *([f"text {n}"] for n in range(30)))
    before = values(store, [f"text {n}" for n in range(30)], [0])
    assert run(tmp_path, "compact") == 0
    assert "30 files of scores are 1 now" in capsys.readouterr().out
    assert len(list(store.folder.glob("*.shard"))) == 1
    assert values(store, [f"text {n}" for n in range(30)], [0]) == before
    assert run(tmp_path, "compact") == 0
    assert "nothing to compact" in capsys.readouterr().out
    store.append(text_keys(["later"]), np.array([[9]], np.float32), [0])
    assert run(tmp_path, "compact") == 0
    assert values(store, ["later"], [0]) == np.array([[9]], np.float32).tobytes()
    assert len(list(store.folder.glob("*.shard"))) == 1


Writes = st.lists(
    st.tuples(
        st.sampled_from([(8,), (28,), (8, 28)]),
        st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(before=Writes, after=Writes)
def test_lookups_are_the_same_whatever_was_written(
    before: list[tuple[tuple[int, ...], list[int]]],
    after: list[tuple[tuple[int, ...], list[int]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Conflicting values and mixed layers: two stores get the same writes, one is compacted twice."""
    plain, compacted = (RowStore(tmp_path_factory.mktemp("store") / "s", {}) for _ in range(2))
    keys, number = text_keys(map(str, range(6))), 0
    for writes in (before, after):
        for columns, rows in writes:
            number += 1  # every write has values of its own
            for store in (plain, compacted):
                store.append(keys[rows], np.full((len(rows), len(columns)), number, np.float32), columns)
        compact_folder(compacted.folder)
    for columns in ([8], [28], [8, 28]):
        for one, other in zip(plain.lookup(keys, columns), compacted.lookup(keys, columns), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(list(compacted.folder.glob("*.shard"))) <= 3


@pytest.mark.parametrize("stage", ["before the merged shard", "after the merged shard", "between removals"])
def test_a_kill_during_compaction_loses_nothing(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, *([f"text {n}"] for n in range(6)))
    texts = [f"text {n}" for n in range(6)]
    before = values(store, texts, [0])
    removed = []

    def killed(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed_after(unlink: object, allowed: int) -> object:
        def counting(path: Path, missing_ok: bool = False) -> None:
            if path.suffix == ".shard":
                removed.append(path)
                if len(removed) > allowed:
                    killed()
            unlink(path, missing_ok=missing_ok)  # type: ignore[operator]

        return counting

    def child() -> None:
        if stage.startswith("before"):
            compaction.write_atomic = killed
        else:
            Path.unlink = killed_after(Path.unlink, 0 if stage.startswith("after") else 3)
        compact_folder(store.folder)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert values(store, texts, [0]) == before
    assert compact_folder(store.folder)[1] == 1
    assert values(store, texts, [0]) == before


def test_readers_and_writers_beside_compaction(tmp_path: Path) -> None:
    """One process writes 40 shards, another compacts; a reader never misses what it once saw."""
    store = fill(tmp_path, ["first"])
    fork = multiprocessing.get_context("fork")
    done = fork.Event()

    def write() -> None:
        for n in range(40):
            store.append(text_keys([f"text {n}"]), np.array([[n]], np.float32), [0])
        done.set()

    def merge() -> None:
        while not done.is_set():
            compact_folder(store.folder)

    processes = [fork.Process(target=target) for target in (write, merge)]
    for process in processes:
        process.start()
    keys, seen = text_keys(["first", *(f"text {n}" for n in range(40))]), np.zeros(41, bool)
    deadline = time.monotonic() + 60
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        found = store.lookup(keys, [0])[1]
        assert found[seen].all()
        seen |= found
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    looked, found = store.lookup(keys, [0])
    assert found.all()
    assert looked[1:, 0].tolist() == list(range(40))
