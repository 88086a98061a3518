"""What is read from a model's folder before anything is loaded."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.checkpoint import (
    describe,
    folder_problems,
    identity,
    parameter_count,
    safetensors_header,
    safetensors_problems,
    write_safetensors,
)
from rerankbench.engine.models.model_config import positions
from rerankbench.engine.store.file_hashes import FileHashes
from tiny_folder import PARAMETERS, WEIGHTS, safetensors_bytes, shard, write_tiny_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_folder(tmp_path / "tiny")


@pytest.fixture
def hashes(tmp_path: Path) -> FileHashes:
    return FileHashes(tmp_path / "cache" / "hashes.json")


def test_a_whole_folder_has_no_problems(folder: Path) -> None:
    assert folder_problems(folder) == []
    assert parameter_count(folder) == PARAMETERS


def test_a_sharded_folder_has_no_problems(folder: Path) -> None:
    shard(folder)
    assert folder_problems(folder) == []
    assert parameter_count(folder) == PARAMETERS


def test_a_folder_of_links_is_read(folder: Path, tmp_path: Path, hashes: FileHashes) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    assert folder_problems(links) == []
    assert identity(links, hashes) == identity(folder, hashes)


def test_all_problems_are_told_at_once(folder: Path) -> None:
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (folder / name).unlink()
    problems = folder_problems(folder)
    assert [
        word for problem in problems for word in ("config.json", "weights", "tokenizer") if word in problem
    ]
    assert len(problems) == 3
    assert all(str(folder) in problem and "\n" not in problem for problem in problems)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickle_weights_are_refused_with_the_cure(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    (problem,) = folder_problems(folder)
    assert name in problem
    assert "convert them to safetensors" in problem


def test_pickles_beside_safetensors_do_not_matter(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(b"x")
    assert folder_problems(folder) == []


def test_a_lora_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    (problem,) = folder_problems(folder)
    assert "merge it" in problem


def test_a_file_is_not_a_folder(folder: Path) -> None:
    assert "not a folder" in folder_problems(folder / "config.json")[0]
    assert "no such folder" in folder_problems(folder / "nowhere")[0]


def test_a_broken_link_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").symlink_to(folder / "gone")
    (problem,) = folder_problems(folder)
    assert "tokenizer.json: a link to a file that is not there" in problem


@pytest.mark.parametrize("content", ["{", "[]", "\x00", "[" * 100_000])
def test_a_broken_config_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    (problem,) = folder_problems(folder)
    assert "config.json" in problem
    with pytest.raises(UserError, match=r"config\.json"):
        describe(folder)


@pytest.mark.parametrize("size", range(0, len(safetensors_bytes(WEIGHTS)), 7))
def test_cut_off_weights_are_named(folder: Path, size: int) -> None:
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.truncate(size)
    (problem,) = safetensors_problems(folder)
    assert "model.safetensors" in problem
    with pytest.raises(UserError, match=r"model\.safetensors"):
        parameter_count(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    (problem,) = folder_problems(folder)
    assert "model-00002-of-00002.safetensors" in problem
    assert "missing" in problem


@pytest.mark.parametrize(
    "index", ["{}", '{"weight_map": []}', '{"weight_map": {"a": "../../etc/passwd"}}', "x"]
)
def test_a_broken_index_is_named(folder: Path, index: str) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(index)
    (problem,) = folder_problems(folder)
    assert "model.safetensors.index.json" in problem


def test_a_git_lfs_pointer_is_recognised(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa51\nsize 90868376\n"
    (folder / "model.safetensors").write_text(pointer)
    assert "git lfs pull" in folder_problems(folder)[0]


def header_bytes(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        header_bytes([1]),
        header_bytes({"a": 1}),
        header_bytes({"a": {"dtype": "F32", "shape": [1]}}),
        header_bytes({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        header_bytes({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"1234"),
        header_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
        header_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345"),
        header_bytes({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        header_bytes({"a\x1b[2J\n": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 4) + b"{{{{",
        struct.pack("<Q", 1) + b"0",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
    ],
)
def test_what_is_not_safetensors_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    (problem,) = safetensors_problems(folder)
    assert "model.safetensors: cut off or not safetensors" in problem
    assert problem.isprintable()


@given(st.binary(max_size=60), st.binary(max_size=60))
@settings(max_examples=50)
def test_random_headers_never_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes
) -> None:
    file = tmp_path_factory.mktemp("noise") / "model.safetensors"
    for content in (a, struct.pack("<Q", len(a)) + a + b):
        file.write_bytes(content)
        with contextlib.suppress(UserError):
            safetensors_header(file)


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(st.dictionaries(st.text("abc.", min_size=1, max_size=6), shapes, max_size=5), st.integers(0, 99))
@settings(max_examples=50)
def test_written_files_are_those_of_the_library(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[int, ...]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    file = tmp_path_factory.mktemp("written") / "model.safetensors"
    write_safetensors(file, tensors)
    assert file.read_bytes() == safetensors.numpy.save(tensors, metadata={"format": "pt"})
    read = safetensors_header(file)
    assert {name: entry.shape for name, entry in read.items()} == shapes


def test_position_ids_are_not_parameters(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors_bytes({"position_ids": [1, 512]}, "I64", 8))
    assert folder_problems(folder) == []
    assert parameter_count(folder) == 0


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"0": "LABEL_0"}}, 1),
        ({"num_labels": 3}, 3),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, 2),
        ({}, None),
    ],
)
def test_describe(folder: Path, config: dict[str, object], labels: int | None) -> None:
    shape = {"model_type": "minicpm", "architectures": ["X"], "num_hidden_layers": 40, "start_layer": 8}
    silent = {"hidden_size": None, "layer_sep": None}
    (folder / "config.json").write_text(json.dumps(shape | config))
    assert describe(folder) == {**shape, **silent, "num_labels": labels, "positions": None}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194}, 8192),
        (
            {"model_type": "bert", "position_embedding_type": "relative_key", "max_position_embeddings": 9},
            9,  # its table of distances ends there
        ),
        ({"model_type": "gemma", "max_position_embeddings": 8192}, None),  # rotary: nothing breaks beyond
        ({"model_type": "bert"}, None),
        ({"model_type": "bert", "max_position_embeddings": "many"}, None),
    ],
)
def test_positions(config: dict[str, object], expected: int | None) -> None:
    assert positions(config) == expected


def test_identity_is_what_sha256sum_says(folder: Path, hashes: FileHashes) -> None:
    (folder / "README.md").write_text("not part of it")
    command = "LC_ALL=C sha256sum config.json model.safetensors vocab.txt | sha256sum"
    printed = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert identity(folder, hashes) == "sha256:" + printed.split()[0]


SCORING = ["config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json"]
SCORING += [
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "vocab.json",
]
SCORING += [
    "tokenizer.4.0.json",
    "chat_template.jinja",
    "vocab.bpe",
    "words.txt",
    "additional_chat_templates/a.jinja",
]
SCORING += ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "spiece.model"]
OTHERS = [
    "README.md",
    "LICENSE",
    "generation_config.json",
    "pytorch_model.bin",
    ".DS_Store",
    "modules.json",
    "modeling_own.py",  # unless its code is run
]
OTHERS += ["onnx/config.json", "._model.safetensors", "1_Pooling/config.json"]


@pytest.mark.parametrize("name", SCORING)
def test_what_determines_the_scores_changes_the_identity(folder: Path, name: str, hashes: FileHashes) -> None:
    before = identity(folder, hashes)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"something else")
    assert identity(folder, hashes) != before


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_matter_does_not_change_the_identity(
    folder: Path, name: str, hashes: FileHashes
) -> None:
    before = identity(folder, hashes)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"something else")
    assert identity(folder, hashes) == before


def test_the_path_does_not_change_the_identity(folder: Path, hashes: FileHashes) -> None:
    before = identity(folder, hashes)
    moved = folder.rename(folder.parent / "moved")
    assert identity(moved, hashes) == before


def test_swapped_contents_change_the_identity(folder: Path, hashes: FileHashes) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "special_tokens_map.json").write_text('{"a": 1}')
    before = identity(folder, hashes)
    (folder / "tokenizer_config.json").write_text('{"a": 1}')
    (folder / "special_tokens_map.json").write_text("{}")
    assert identity(folder, hashes) != before
