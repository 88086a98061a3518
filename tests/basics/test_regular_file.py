"""What strangers put under a file's name: only regular files are opened, and nothing is waited for."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankbench.basics.regular_file import NotRegular, TooLarge, open_regular, read_regular


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # the name of a socket may have a hundred bytes


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("a pipe", os.mkfifo),
        ("a folder", os.mkdir),
        ("a socket", socket_at),
        ("a link", lambda path: path.symlink_to("/etc/hostname")),
        ("a link", lambda path: path.symlink_to(path.name)),
        ("a link", lambda path: path.symlink_to("/dev/zero")),
    ],
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    kind: str, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    signal.alarm(10)  # ends the tests if something is waited for
    for read in (open_regular, read_regular):
        with pytest.raises(NotRegular, match=f"it is {kind}, not a file"):
            read(tmp_path / "x")
    signal.alarm(0)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert read_regular(tmp_path / "x") == read_regular(tmp_path / "x", 3) == b"abc"
    with open_regular(tmp_path / "x") as file:
        assert file.read(1) == b"a"


def test_a_file_is_not_read_where_it_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(10**12)  # takes no room
    with pytest.raises(TooLarge, match="1,000,000,000,000 bytes, at most 1,000 are allowed"):
        read_regular(tmp_path / "x", 1000)


def test_a_device_is_no_file() -> None:
    with pytest.raises(NotRegular, match="a device"):
        read_regular(Path("/dev/zero"))


def test_what_is_not_there_is_told_as_always(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "x")
