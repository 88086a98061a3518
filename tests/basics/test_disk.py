"""What a disk refuses is one line and exit code 2, and nothing is left that looks like a result."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from commands import own_options, run, tiny
from rerankbench.basics.errors import UserError
from rerankbench.collections import exports
from rerankbench.engine.store import disk
from rerankbench.engine.store import rows as store
from rerankbench.engine.store.disk import explained, told
from rerankbench.experiment.tracking import outputs
from rerankbench.experiment.tracking.result import Result

PLACES = {"cache_dir": Path("/there/cache"), "hydra.run.dir": Path("/there/out")}


def refused(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([file] if file else []))


@pytest.mark.parametrize(
    ("number", "file", "said"),
    [
        (errno.ENOSPC, "/there/cache/x", "/there/cache/x: the disk is full; make room there, or choose "
         "another place with cache_dir=FOLDER; then the same command continues: what was computed is kept"),
        (errno.ENOSPC, "/elsewhere", "/elsewhere: the disk is full; make room there; then the same"),
        (errno.EDQUOT, "/there/out/x", "the disk quota is used up; make room there, or choose another place"),
        (errno.EROFS, "/there/cache/x", "the disk is read-only"),
        (errno.EACCES, "/there/cache/x", "permission denied"),
        (errno.ENOENT, "/there/cache/x", "gone, it seems to have been removed during the run"),
        (errno.ENOTDIR, "/there/out/x", "a part of this path is a file"),
        (errno.ENOSPC, None, "/there/cache or /there/out: the disk is full"),
    ],
)  # fmt: skip
def test_what_a_disk_refuses_is_one_line(number: int, file: str | None, said: str) -> None:
    error = explained(refused(number, file), PLACES)
    assert isinstance(error, UserError)
    assert said in str(error)
    assert len(error.problems) == 1


@pytest.mark.parametrize(
    "error",
    [refused(errno.ENOENT, "/data/queries.jsonl"), refused(errno.EACCES, "/data/x"), refused(errno.EIO),
     refused(errno.EINVAL, "/there/cache/x"), ValueError("x"), UserError("already one line")],
)  # fmt: skip
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert explained(error, PLACES) is error


def test_the_cause_is_found_behind_other_errors() -> None:
    error = RuntimeError("a library's own words")
    error.__cause__ = refused(errno.ENOSPC, "/there/cache/x")
    assert "/there/cache/x: the disk is full" in str(explained(error, PLACES))


def test_a_library_that_tells_the_reason_in_its_text() -> None:
    error = told(RuntimeError("write error in x.faiss: 0 != 1 (No space left on device)"), Path("/there/x"))
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.ENOSPC, "/there/x")
    other = RuntimeError("d == 0")
    assert told(other, Path("/there/x")) is other


def test_the_error_of_a_write_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise refused(errno.ENOSPC)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space") as caught:
        store.write_atomic(tmp_path / "file", b"content")
    assert caught.value.filename == str(tmp_path / "file")
    with pytest.raises(OSError, match="No space") as caught:
        exports._write(tmp_path / "run.trec", ["a line\n"])
    assert caught.value.filename == str(tmp_path / "run.trec")
    assert list(tmp_path.iterdir()) == []


# --- whole runs ---


def test_a_run_on_a_full_disk(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be written any more, not even the failure: what an earlier run left is removed."""
    command = ["reranker=none", "first_stage=bm25", "tracking=none", *tiny(models, tmp_path)]
    assert run(*command) == 0

    def full(*_: object) -> None:
        raise refused(errno.ENOSPC, str(tmp_path / "out" / "x"))

    with monkeypatch.context() as broken:
        broken.setattr(outputs, "write_atomic", full)
        broken.setattr(Result, "write", full)
        assert run(*command) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert len([line for line in printed.splitlines() if "the disk is full" in line]) == 1
    assert not (tmp_path / "out" / "result.json").exists()
    assert run(*command) == 0


def test_a_sweep_that_can_write_no_results_has_failed(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_options(models, tmp_path, gone=f"model: {tmp_path / 'nowhere'}\n")
    monkeypatch.setattr(outputs, "keep_failure", lambda *_: False)
    rest = ["first_stage=bm25", "tracking=none", *tiny(models, tmp_path)]
    assert run("--config-dir", str(own), "-m", "reranker=none,gone", *rest) == 1


def test_what_hydra_cannot_write_is_one_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hydra").write_text("a file in the place of a folder")
    assert run("reranker=none", "first_stage=bm25", "tracking=none", *tiny(models, tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'out' / '.hydra'}: there is something else under this name")
    assert "choose another place with hydra.run.dir=FOLDER" in line


def test_settings_may_stand_on_both_sides_of_m(models: Path, tmp_path: Path) -> None:
    command = ["reranker=none", "first_stage=bm25", "-m", "tracking=none", *tiny(models, tmp_path)]
    assert run(*command) == 0
    assert (tmp_path / "sweep" / "0" / "result.json").exists()


def test_a_full_disk_is_no_folder_that_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.takes_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for number, takes in ((errno.ENOSPC, True), (errno.ENOENT, False), (errno.EACCES, False)):

        def refuse(*_: object, number: int = number, **__: object) -> str:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(disk.tempfile, "mkdtemp", refuse)
        assert disk.takes_folders(tmp_path) is takes
