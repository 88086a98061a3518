"""Whatever lies in a cache: no trace, nothing waited for, nothing followed, and never in the way."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankbench.commands.cache import command
from rerankbench.commands.cache.compact import compact_folder
from rerankbench.engine.store import lock
from rerankbench.engine.store.file_hashes import FileHashes
from rerankbench.engine.store.rows import RowStore, Shard, read_array, text_keys, write_array
from silence import silent_store

KEYS = text_keys(["a", "b", "c"])
VALUES = np.array([[1.0], [2.0], [3.0]], np.float32)
OUTSIDE = b"a file elsewhere"


@contextmanager
def at_once() -> Iterator[None]:
    """Ends the test, and a wait without end, after ten seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError("waited for more than ten seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def socket_at(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
        os.rename("s", path.name)
    finally:
        os.chdir(before)


def full_folder(path: Path) -> None:
    path.mkdir()
    (path / "x").write_text("x")


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**11)


KINDS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a folder of files": full_folder,
    "a socket": socket_at,
    "a link outside": lambda path: path.symlink_to(path.parents[2] / "outside"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "nothing in it": Path.touch,
    "brackets": lambda path: path.write_text("[" * 200_000),
    "a list": lambda path: path.write_text("[1]"),
}


def shard_of(*arrays: bytes) -> tuple[str, bytes]:
    """A shard whose name has the hash of its bytes."""
    data = b"".join(arrays)
    return f"00000001-{hashlib.sha256(data).hexdigest()}.shard", data


def header(descr: str, shape: str) -> bytes:
    """What numpy writes before an array."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


ONE = header("<i4", "(1,)") + bytes(4)
CLAIMS = {
    "10^12 rows": shard_of(ONE, header("|S32", "(1000000000000,)"), header("<f4", "(1000000000000, 1)")),
    "10^12 columns": shard_of(header("<i4", "(1000000000000,)")),
    "rows below zero": shard_of(ONE, header("|S32", "(-1,)")),
    "a wide key": shard_of(ONE, header("|S999999999", "(1,)")),
    "objects": shard_of(ONE, header("|O", "(1,)")),
    "records": shard_of(ONE, header("[('a', '<i4')]", "(1,)")),
    "a header of brackets": shard_of(ONE, header("(" * 90, "(1,)")),
    "a header that lies about its length": shard_of(b"\x93NUMPY\x01\x00\xff\xff" + b"x" * 20),
    "nothing": shard_of(b""),
}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder of one identity in a cache, with a file outside."""
    (tmp_path / "outside").write_bytes(OUTSIDE)
    folder = tmp_path / "cache" / "scores" / ("0" * 64)
    folder.mkdir(parents=True)
    return folder


def works(folder: Path, caplog: pytest.LogCaptureFixture, asides: tuple[int, ...]) -> None:
    """What is appended is found, each fault is told once, and the command looks at everything."""
    store = RowStore(folder, {"label": "x"})
    with at_once():
        store.lookup(KEYS, [0])
        store.append(KEYS, VALUES, [0])
        for _ in range(2):
            values, found = store.lookup(KEYS, [0])
            assert found.all()
            np.testing.assert_array_equal(values, VALUES)
        assert len(caplog.messages) in asides, caplog.messages
        assert compact_folder(folder) in ((1, 1), (2, 1))
        place = f"cache_dir={folder.parents[1]}"
        for words in (["list"], ["size"], ["verify"], ["compact"], ["prune", "leftovers", "--yes"]):
            assert command.main([*words, place]) in (0, 1)
        assert store.lookup(KEYS, [0])[1].all()
    assert (folder.parents[2] / "outside").read_bytes() == OUTSIDE


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "name", ["00000001-" + "a" * 64 + ".shard", "x.shard", "x-y.shard", "9" * 40 + "-a.shard"]
)
def test_what_is_called_a_shard_is_set_aside_once(
    name: str, kind: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    KINDS[kind](cache / name)
    works(cache, caplog, (1,))


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_header_claims_is_not_believed(
    claim: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, data = CLAIMS[claim]
    (cache / name).write_bytes(data)
    works(cache, caplog, (1,))


def test_a_number_that_leaves_no_room_is_set_aside(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Shard(np.array([0], np.int32), text_keys(["d", "e", "f"]), VALUES).to_bytes()
    for number in (99_999_999, 99_999_998):
        (cache / f"{number}-{hashlib.sha256(data).hexdigest()}.shard").write_bytes(data)
    works(cache, caplog, (2,))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nothing in it"])
@pytest.mark.parametrize("name", ["identity.json", "append.lock", "cost-x.json"])
def test_what_stands_beside_shards_is_not_in_the_way(
    name: str, kind: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    KINDS[kind](cache / name)
    works(cache, caplog, (0, 1))


def test_a_link_for_the_folder_is_not_followed(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.rmdir()
    cache.symlink_to(tmp_path / "elsewhere")
    store = RowStore(cache, {})
    store.append(KEYS, VALUES, [0])
    assert store.lookup(KEYS, [0])[1].all()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_locks_and_hashes_are_made_in_spite_of_what_is_there(kind: str, cache: Path) -> None:
    array = np.arange(3, dtype=np.int64)
    with at_once():
        path = write_array(cache, "plan", array)
        path.unlink()
        KINDS[kind](path)
        assert read_array(cache, "plan") is None
        write_array(cache, "plan", array)
        KINDS[kind](cache / "plan-x.npy")
        found = read_array(cache, "plan")
        assert found is not None
        assert found.tolist() == [0, 1, 2]
        if kind != "nothing in it":  # an owner has ten seconds to write its name
            KINDS[kind](cache / "x.owner")
        with lock.hold(cache / "x.owner", "testing"):
            assert lock.owner(cache / "x.owner").startswith("pid ")
        KINDS[kind](cache / "hashes.json")
        hashes = FileHashes(cache / "hashes.json")
        assert hashes.sha256(cache.parents[2] / "outside") == hashlib.sha256(OUTSIDE).hexdigest()


# --- any change of one thing ---


@given(
    st.integers(0, 3),
    st.one_of(st.sampled_from(sorted(KINDS)), st.tuples(st.integers(0, 10**6), st.integers(1, 255))),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_change_of_one_file_costs_its_part_only(which: int, change: str | tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as place, at_once(), silent_store():
        (Path(place) / "outside").write_bytes(OUTSIDE)
        folder = Path(place) / "cache" / "scores" / ("0" * 64)
        store = RowStore(folder, {"label": "x"})
        store.append(KEYS[:1], VALUES[:1], [0])
        store.append(KEYS[1:], VALUES[1:], [0])
        file = sorted(folder.iterdir())[which % len(list(folder.iterdir()))]
        content = file.read_bytes()
        if isinstance(change, str):
            file.unlink()
            KINDS[change](file)
        elif content:
            at = change[0] % len(content)
            file.write_bytes(content[:at] + bytes([content[at] ^ change[1]]) + content[at + 1 :])
        values, found = store.lookup(KEYS, [0])
        np.testing.assert_array_equal(values[found], VALUES[found])
        store.append(KEYS, VALUES, [0])
        assert store.lookup(KEYS, [0])[1].all()
        assert command.main(["verify", f"cache_dir={Path(place) / 'cache'}"]) in (0, 1)
        assert (Path(place) / "outside").read_bytes() == OUTSIDE
