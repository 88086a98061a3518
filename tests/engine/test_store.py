"""The store against a dict: precedence, columns, damage, kills at any moment, two writers at once."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import multiprocessing
import os
import random
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.engine.store.rows import (
    ARITHMETIC,
    INT8,
    KEY,
    RowStore,
    arithmetic,
    identity,
    pair_keys,
    read_array,
    read_shard,
    text_digests,
    text_keys,
    write_array,
    write_atomic,
)

NAMES = [f"text {i}" for i in range(8)]
COLUMNS = [2, 5, 28]
KEYS = dict(zip(NAMES, text_keys(NAMES), strict=True))


def keys_of(names: list[str]) -> NDArray[np.bytes_]:
    return np.array([KEYS[name] for name in names], KEY)


# --- any history of writes and damage, against dicts ---


class Histories(RuleBasedStateMachine):
    """`shards`: what each file holds, as {(text, column): value}, by file name."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = RowStore(self.folder, {"model": "m"})
        self.shards: dict[str, dict[tuple[str, int], np.float32]] = {}
        self.value = 0
        logging.getLogger("rerankbench.engine.store.rows").disabled = True

    def teardown(self) -> None:
        logging.getLogger("rerankbench.engine.store.rows").disabled = False
        shutil.rmtree(self.folder)

    @rule(
        names=st.lists(st.sampled_from(NAMES), max_size=6),
        columns=st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True),
    )
    def append(self, names: list[str], columns: list[int]) -> None:
        values = self.value + np.arange(len(names) * len(columns), dtype=np.float32).reshape(-1, len(columns))
        self.value += values.size
        before = self.files()
        self.store.append(keys_of(names), values, columns)
        (name,) = self.files() - before
        held: dict[tuple[str, int], np.float32] = {}
        for row, text in enumerate(names):
            for place, column in enumerate(columns):
                held.setdefault((text, column), values[row, place])
        self.shards[name] = held

    @rule(data=st.data(), how=st.sampled_from(["cut", "flip", "empty", "remove"]))
    def damage(self, data: st.DataObject, how: str) -> None:
        if not self.shards:
            return
        name = data.draw(st.sampled_from(sorted(self.shards)))
        path, content = self.folder / name, bytearray((self.folder / name).read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        match how:
            case "cut":
                path.write_bytes(content[:at])
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
                path.write_bytes(content)
            case "empty":
                path.write_bytes(b"")
            case "remove":
                path.unlink()
        del self.shards[name]

    @rule()
    def leave_a_partial_file(self) -> None:
        (self.folder / ".00000001-abc.shard.123.tmp").write_bytes(b"half a sh")

    @rule(
        names=st.lists(st.sampled_from(NAMES), max_size=10),
        columns=st.lists(st.sampled_from([*COLUMNS, 99]), unique=True, min_size=1),
    )
    def look_up(self, names: list[str], columns: list[int]) -> None:
        values, found = RowStore(self.folder, {}).lookup(keys_of(names), columns)
        for row, text in enumerate(names):
            expected = [self.expected(text, column) for column in columns]
            assert found[row] == (None not in expected)
            for value, want in zip(values[row], expected, strict=True):
                assert np.isnan(value) if want is None else value == want

    def expected(self, text: str, column: int) -> np.float32 | None:
        """The first file in order of its name wins."""
        held = (self.shards[name].get((text, column)) for name in sorted(self.shards))
        return next((value for value in held if value is not None), None)

    @invariant()
    def numbers_are_unique(self) -> None:
        numbers = [name.split("-")[0] for name in self.files()]
        assert len(set(numbers)) == len(numbers)

    def files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.shard")}


Histories.TestCase.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)
TestHistories = Histories.TestCase


# --- keys ---


@given(
    st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16)), max_size=8)
)
@settings(max_examples=60, deadline=None)
def test_keys_with_zero_bytes_are_told_apart(pairs: list[tuple[bytes, bytes]]) -> None:
    """numpy hides trailing zero bytes of S32: no two keys may become one by that, and none may be lost."""
    pairs += [(b"a" + bytes(15), bytes(16)), (b"a\0b" + bytes(13), bytes(16)), (bytes(16), bytes(15) + b"\1")]
    pairs = list(dict.fromkeys(pairs))
    first, second = (np.array(part, "S16") for part in zip(*pairs, strict=True))
    keys = pair_keys(first, second)
    assert keys.tobytes() == b"".join(a + b for a, b in pairs)
    assert len(np.unique(keys)) == len(pairs)
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore(Path(folder), {})
        store.append(keys[::-1], np.arange(len(keys), dtype=np.float32)[::-1, None], [0])
        values, found = store.lookup(keys, [0])
    assert found.all()
    np.testing.assert_array_equal(values[:, 0], np.arange(len(keys)))


def test_keys_are_of_the_texts_in_their_order() -> None:
    a, b = text_digests(["a", "b"])
    (ab,), (ba,) = pair_keys(np.array([a]), np.array([b])), pair_keys(np.array([b]), np.array([a]))
    assert ab != ba
    assert (
        bytes(ab)
        == hashlib.blake2b(b"a", digest_size=16).digest() + hashlib.blake2b(b"b", digest_size=16).digest()
    )
    assert text_keys(["a"]).tobytes() == a + bytes(16)
    assert (text_digests([]).dtype, text_keys([]).dtype) == (np.dtype("S16"), KEY)
    assert len({bytes(key) for key in text_keys(["", " ", "\0", "é", "e\u0301", "\ud800"])}) == 6


def test_nothing_to_look_up_and_nothing_there(tmp_path: Path) -> None:
    values, found = RowStore(tmp_path / "none", {}).lookup(keys_of([]), COLUMNS)
    assert (values.shape, found.shape) == ((0, 3), (0,))
    _, found = RowStore(tmp_path / "none", {}).lookup(keys_of(NAMES), COLUMNS)
    assert not found.any()


# --- values ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    store = RowStore(tmp_path, {})
    with pytest.raises(UserError) as caught:
        store.append(keys_of(NAMES[:2]), np.array([[1.0], [bad]], np.float32), [0])
    assert isinstance(caught.value, FloatingPointError)
    assert caught.value.problems == [
        "the model's values are not finite (NaN or infinite), so none of them is kept; "
        "try precision=fp32, or another copy of the model"
    ]
    assert not store.lookup(keys_of(NAMES), [0])[1].any()


@given(some.arrays(np.float32, (3, 2), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
@settings(max_examples=30, deadline=None)
def test_values_come_back_to_the_last_bit(values: NDArray[np.float32]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        RowStore(Path(folder), {}).append(keys_of(NAMES[:3]), values, [2, 5])
        back, _ = RowStore(Path(folder), {}).lookup(keys_of(NAMES[2::-1]), [5, 2])
    assert back.tobytes() == np.ascontiguousarray(values[::-1, ::-1]).tobytes()


def test_what_was_read_stays_what_is_read(tmp_path: Path) -> None:
    store = RowStore(tmp_path, {})
    for value in range(12):  # ten and more: names must sort as numbers
        store.append(keys_of(NAMES[:1]), np.array([[value]], np.float32), [0])
        assert store.lookup(keys_of(NAMES[:1]), [0])[0] == 0


def test_of_many_rows_of_one_key_the_first_counts(tmp_path: Path) -> None:
    store = RowStore(tmp_path, {})
    store.append(keys_of(NAMES * 20), np.arange(160, dtype=np.float32)[:, None], [0])
    np.testing.assert_array_equal(store.lookup(keys_of(NAMES), [0])[0][:, 0], np.arange(8))


def test_damage_is_told_once_and_costs_only_its_own_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RowStore(tmp_path, {"model": "m"})
    for number, name in enumerate(NAMES[:3]):
        store.append(keys_of([name]), np.array([[number]], np.float32), [0])
    broken = sorted(tmp_path.glob("*.shard"))[1]
    broken.write_bytes(broken.read_bytes()[:-1])
    for _ in range(2):
        np.testing.assert_array_equal(store.lookup(keys_of(NAMES[:3]), [0])[1], [True, False, True])
    assert caplog.messages == [
        f"set aside a damaged store file, its part is computed again: {broken} "
        "(its bytes do not match the hash in its name)"
    ]
    assert broken.with_suffix(".damaged").exists()


def npy(*arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["x.shard", "00000001.shard", "1-" + "a" * 64 + ".shard"])
def test_what_is_called_a_shard_but_not_as_one_is_set_aside(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RowStore(tmp_path, {})
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / f".{name}").write_bytes(b"x")  # hidden ones, of a file browser perhaps, are left alone
    assert not store.lookup(keys_of(NAMES), [0])[1].any()
    told = f"set aside a damaged store file, its part is computed again: {tmp_path / name}"
    assert caplog.messages == [f"{told} (its name is not that of a shard)"]
    assert (tmp_path / f".{name}").exists()


def test_numbers_that_leave_no_room_are_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = npy(ONE, keys_of(NAMES[:2]), VALUES)
    digest = hashlib.sha256(data).hexdigest()
    for number in (98_999_999, 99_000_000, 99_999_999):
        (tmp_path / f"{number}-{digest}.shard").write_bytes(data)
    RowStore(tmp_path, {}).append(keys_of(NAMES[2:4]), VALUES, [0])
    assert [path.name[:8] for path in sorted(tmp_path.glob("*.shard"))] == ["98999999", "99000000"]
    assert [path.name[:8] for path in sorted(tmp_path.glob("*.damaged"))] == ["99000000", "99999999"]
    assert all(message.endswith("(its number leaves no room for others)") for message in caplog.messages)
    assert len(caplog.messages) == 2


def test_a_linked_folder_holds_nothing(tmp_path: Path) -> None:
    RowStore(tmp_path / "elsewhere", {}).append(keys_of(NAMES[:2]), VALUES, [0])
    (tmp_path / "rows").symlink_to(tmp_path / "elsewhere")
    assert not RowStore(tmp_path / "rows", {}).lookup(keys_of(NAMES), [0])[1].any()


def test_links_are_set_aside_as_what_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    for name in (f"00000001-{'a' * 64}.shard", f"name-{'a' * 64}.npy"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    assert not RowStore(tmp_path, {}).lookup(keys_of(NAMES), [0])[1].any()
    assert read_array(tmp_path, "name") is None
    assert [message.endswith("(it is a link, not a file)") for message in caplog.messages] == [True, True]


def test_values_of_other_types_come_back_as_single_precision(tmp_path: Path) -> None:
    store = RowStore(tmp_path, {})
    store.append(keys_of(NAMES[:2]), np.array([[0.1], [2.0]]), [0])
    values, found = store.lookup(keys_of(NAMES[:2]), [0])
    assert found.all()
    np.testing.assert_array_equal(values, np.array([[0.1], [2.0]], np.float32))


APART = "its arrays do not belong together"
ONE, TWO = np.array([0], np.int32), np.array([0, 1], np.int32)
VALUES = np.ones((2, 1), np.float32)
WRONG = {
    "fewer values than keys": (APART, npy(ONE, keys_of(NAMES[:2]), VALUES[:1])),
    "fewer columns than named": (APART, npy(TWO, keys_of(NAMES[:2]), VALUES)),
    "values of one dimension": (APART, npy(ONE, keys_of(NAMES[:2]), VALUES[:, 0])),
    "keys of two dimensions": (APART, npy(ONE, keys_of(NAMES[:2])[:, None], VALUES)),
    "columns of two dimensions": (APART, npy(ONE[:, None], keys_of(NAMES[:2]), VALUES)),
    "both of two dimensions": (APART, npy(ONE[:, None], keys_of(NAMES[:2])[:, None], VALUES)),
    "a number for the keys": (APART, npy(ONE, np.array(5), VALUES)),
    "keys of another width": (APART, npy(ONE, keys_of(NAMES[:2]).astype("S8"), VALUES)),
    "columns that are no numbers": (APART, npy(ONE.astype("S1"), keys_of(NAMES[:2]), VALUES)),
    "whole numbers": (APART, npy(ONE, keys_of(NAMES[:2]), VALUES.astype(np.int64))),
    "values that are cut off": (APART, npy(ONE, keys_of(NAMES[:2]), VALUES)[:-1]),
    "values that are NaN": (
        "it holds values that are not finite",
        npy(ONE, keys_of(NAMES[:2]), np.full((2, 1), np.nan, np.float32)),
    ),
    "two arrays": (APART, npy(ONE, keys_of(NAMES[:2]))),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_shard_of_another_shape_is_set_aside(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where its bytes are those that its name says."""
    reason, content = WRONG[name]
    path = tmp_path / f"00000001-{hashlib.sha256(content).hexdigest()}.shard"
    path.write_bytes(content)
    assert not RowStore(tmp_path, {}).lookup(keys_of(NAMES), [0])[1].any()
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]
    assert caplog.messages == [
        f"set aside a damaged store file, its part is computed again: {path} ({reason})"
    ]


def test_a_file_that_another_process_sets_aside_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RowStore(tmp_path, {})
    store.append(keys_of(NAMES[:1]), np.ones((1, 1), np.float32), [0])
    (path,) = tmp_path.glob("*.shard")
    path.write_bytes(b"damaged")
    read = Path.read_bytes

    def read_and_lose(self: Path) -> bytes:
        data = read(self)
        self.rename(self.with_suffix(".damaged"))
        return data

    monkeypatch.setattr(Path, "read_bytes", read_and_lose)
    assert read_shard(path) is None


def test_files_that_another_process_removes_after_they_were_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed = Path.glob

    def with_one_that_is_gone(self: Path, pattern: str) -> list[Path]:
        return [self / pattern.replace("*", "0"), *listed(self, pattern)]

    monkeypatch.setattr(Path, "glob", with_one_that_is_gone)
    store = RowStore(tmp_path, {})
    store.append(keys_of(NAMES[:1]), np.ones((1, 1), np.float32), [0])
    assert store.lookup(keys_of(NAMES[:1]), [0])[1].all()
    write_array(tmp_path, "name", np.array([7]))
    np.testing.assert_array_equal(read_array(tmp_path, "name"), [7])
    assert caplog.messages == []


def test_a_folder_of_rows_says_whose_they_are_and_numbers_its_shards(tmp_path: Path) -> None:
    folder = tmp_path / "rerankers" / "0a1b"
    for number in range(2):
        RowStore(folder, {"model": "é", "number": number}).append(
            keys_of(NAMES[:1]), np.ones((1, 1), np.float32), [0]
        )
    description = (folder / "identity.json").read_text(encoding="utf-8")
    assert description == '{\n  "model": "é",\n  "number": 0\n}', "what is there stays"
    shards = sorted(folder.glob("*.shard"))
    digests = [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards]
    names = [f"00000001-{digests[0]}.shard", f"00000002-{digests[1]}.shard"]
    assert [shard.name for shard in shards] == names


def test_an_identity_is_the_hash_of_canonical_json() -> None:
    """Pinned: any other form of the same parts would be another name, and whole caches computed again."""
    canonical = '{"batch":[1,2.5],"model":"é","none":null}'
    parts = {"none": None, "model": "é", "batch": [1, 2.5]}
    assert identity(parts) == hashlib.sha256(canonical.encode()).hexdigest()


def test_what_int8_computes_has_a_version_of_its_own() -> None:
    """Pinned: under other keys or for other precisions, whole caches would be computed again."""
    assert arithmetic("bf16") == {"arithmetic": ARITHMETIC, "precision": "bf16"}
    assert arithmetic("int8") == {"arithmetic": ARITHMETIC, "precision": "int8", "int8": INT8}


def test_identity_is_of_content_not_of_order() -> None:
    assert identity({"a": 1, "b": [1, "é"]}) == identity({"b": [1, "é"], "a": 1})
    others = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {"A": 1}]
    assert len({identity(parts) for parts in others}) == len(others)
    with pytest.raises(ValueError, match="JSON"):
        identity({"a": float("nan")})


# --- no pickle ---


class Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def trapped(file: Path) -> bytes:
    """An .npy file of one pickled object."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap(file)], object), allow_pickle=True)
    assert b"touch" in buffer.getvalue()
    return buffer.getvalue()


def test_pickles_are_set_aside_unopened(tmp_path: Path) -> None:
    data = trapped(tmp_path / "sprung")
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / f"00000001-{digest}.shard").write_bytes(data)
    (tmp_path / f"array-{digest}.npy").write_bytes(data)
    assert not RowStore(tmp_path, {}).lookup(keys_of(NAMES), [0])[1].any()
    assert read_array(tmp_path, "array") is None
    assert len(list(tmp_path.glob("*.damaged"))) == 2
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path, "objects", np.array([{}], object))
    assert not (tmp_path / "sprung").exists()


# --- whole arrays ---


@given(some.arrays(st.sampled_from(["<f4", "<i8", "<f8"]), some.array_shapes(max_dims=3, min_side=0)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arrays_come_back(array: NDArray[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_array(Path(folder), "name", array.T)
        back = read_array(Path(folder), "name")
        assert back is not None
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.T.shape, array.T.tobytes())


def test_arrays_are_mapped_and_cannot_be_changed(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    write_array(folder, "a-name", np.zeros(3))
    back = read_array(folder, "a-name")
    assert isinstance(back, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


@pytest.mark.parametrize("size", [0, 1, 100, 127, -1])
def test_a_cut_off_array_is_set_aside(tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    path = write_array(tmp_path, "name", np.arange(10.0))
    path.write_bytes(path.read_bytes()[:size])
    assert read_array(tmp_path, "name") is None
    assert caplog.messages == [
        f"set aside a damaged store file, its part is computed again: {path} "
        "(its bytes do not match the hash in its name)"
    ]
    write_array(tmp_path, "name", np.arange(10.0))
    np.testing.assert_array_equal(read_array(tmp_path, "name"), np.arange(10.0))


def test_a_second_array_of_a_name_replaces_the_first(tmp_path: Path) -> None:
    for number in range(5):
        write_array(tmp_path, "name", np.array([number]))
        write_array(tmp_path, "other", np.array([-1]))
        np.testing.assert_array_equal(read_array(tmp_path, "name"), [number])
    assert len(list(tmp_path.glob("name-*.npy"))) == 1


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("rerankbench.engine.store.rows.os.fsync", full)
    with pytest.raises(OSError, match="no space") as caught:
        write_atomic(tmp_path / "file", b"content")
    assert caught.value.filename == str(tmp_path / "file"), "the system does not say which"
    assert list(tmp_path.iterdir()) == []


def test_a_write_is_durable_before_and_after_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bytes | str, list[str]]] = []

    def record(file: int) -> None:
        names = sorted(path.name for path in tmp_path.iterdir())
        inode = os.fstat(file).st_ino
        of = "folder" if inode == tmp_path.stat().st_ino else (tmp_path / names[0]).read_bytes()
        synced.append((of, names))

    monkeypatch.setattr("rerankbench.engine.store.rows.os.fsync", record)
    write_atomic(tmp_path / "file", b"content")
    (before, (temporary,)), after = synced
    assert before == b"content"
    assert re.fullmatch(r"\.file\.[0-9a-f]{32}\.tmp", temporary)
    assert after == ("folder", ["file"])


# --- processes ---


class Writer:
    """A forked process that appends `count` shards to a folder, and says so after each."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self.told, end = os.pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=write, args=(folder, name, count, end)
        )
        self.process.start()
        os.close(end)

    def reported(self) -> int:
        """How many shards it has said to have written, to its end."""
        with os.fdopen(self.told, "rb") as told:
            found = len(told.read())
        self.process.join()
        return found


def write(folder: Path, name: str, count: int, told: int) -> None:
    store = RowStore(folder, {})
    for number in range(count):
        texts = [f"{name} {number} {row}" for row in range(300)] + ["shared"]
        store.append(text_keys(texts), np.full((301, 2), float(number), np.float32), [0, 1])
        os.write(told, b".")


def assert_kept(store: RowStore, name: str, count: int) -> None:
    texts = [f"{name} {number} {row}" for number in range(count) for row in range(300)]
    values, found = store.lookup(text_keys(texts), [0, 1])
    assert found.all()
    np.testing.assert_array_equal(values, np.repeat(np.arange(count), 300)[:, None].repeat(2, axis=1))


def test_a_killed_writer_loses_nothing_that_it_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """kill -9 a dozen times, into the same folder, as restarted runs would."""
    chance, survived = random.Random(7), 0
    for attempt in range(12):
        writer = Writer(tmp_path, f"run {attempt}", 10_000)
        assert os.read(writer.told, 1) == b"."
        time.sleep(chance.random() * 0.1)
        writer.process.kill()
        reported = 1 + writer.reported()
        survived += reported
        assert_kept(RowStore(tmp_path, {}), f"run {attempt}", reported)
    assert survived > 12
    assert caplog.messages == []
    for path in tmp_path.glob("*.shard"):
        assert read_shard(path) is not None


def test_two_writers_lose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writers = [Writer(tmp_path, name, 25) for name in ("one", "two")]
    assert [writer.reported() for writer in writers] == [25, 25]
    assert [writer.process.exitcode for writer in writers] == [0, 0]
    store = RowStore(tmp_path, {})
    assert_kept(store, "one", 25)
    assert_kept(store, "two", 25)
    numbers = sorted(int(path.name.split("-")[0]) for path in tmp_path.glob("*.shard"))
    assert numbers == list(range(1, 51))
    assert store.lookup(text_keys(["shared"]), [0])[0] == 0  # whoever came first, it was its first shard
    assert caplog.messages == []
