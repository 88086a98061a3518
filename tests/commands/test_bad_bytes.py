"""Arbitrary bytes and values into everything that reads files: a value or the user's error, nothing else."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collections_on_disk import beir
from rerankbench.basics.errors import UserError
from rerankbench.collections.candidates import read_trec, write_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.engine.models.checkpoint import folder_problems, safetensors_header
from rerankbench.engine.store.rows import RowStore, Shard, read_array, text_keys
from rerankbench.experiment.tracking.result import Result
from rerankbench.report.arms import runs
from silence import silent_store

often = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

# Bytes that look like the formats, since random ones seldom get past the first check.
pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\t", b"\n", b"\r\n", b" ", b"\0", b"\xff", b"\xc3", b"q1",
     b"d1", b'"_id"', b'"text"', b'"title"', b"1", b"-1", b"0.5", b"nan", b"NaN", b"1e999", b"null", b"true",
     b"\\ud800", b"query-id", b"corpus-id", b"score", b"Q0", b"\xef\xbb\xbf", b'{"_id": "d1", "text": "x"}\n',
     b'{"_id": "q1", "text": "x"}\n', b"q1\td1\t1\n", b"q1 Q0 d1 1 2 t\n", b'{"q1": {"d1": 1}}']
)  # fmt: skip
contents = st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=12).map(b"".join))


def told(error: UserError) -> None:
    """Lines that a person can read."""
    assert error.problems
    assert all(line.isprintable() and len(line) < 700 for line in error.problems), error.problems


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
@given(content=contents)
@often
def test_any_bytes_in_a_collection_are_a_collection_or_the_users_error(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = beir(Path(folder) / "data", [("d1", "", "x")], [("q1", "", "x")], [("q1", "d1", 1)])
        (data / name).write_bytes(content)
        try:
            assert isinstance(Beir(path=str(data)).load(Path(folder)), Collection)
        except UserError as error:
            told(error)


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".trec", ".jsonl.gz"])
@pytest.mark.parametrize("key", ["corpus", "queries", "qrels"])
@given(content=contents)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_in_any_format_are_a_collection_or_the_users_error(
    key: str, extension: str, content: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = beir(Path(folder) / "data", [("d1", "", "x")], [("q1", "", "x")], [("q1", "d1", 1)])
        files = {
            "corpus": data / "corpus.jsonl",
            "queries": data / "queries.jsonl",
            "qrels": data / "qrels" / "test.tsv",
            key: Path(folder) / f"file{extension}",
        }
        files[key].write_bytes(content)
        try:
            Files(**{name: str(path) for name, path in files.items()}).load(Path(folder))
        except UserError as error:
            told(error)


LETTERS = collection_of({"d1": "x", "d2": "y"}, {"q1": "x", "q2": "y"}, {"q1": {"d1": 1}, "q2": {"d2": 1}})


@pytest.mark.parametrize("extension", [".trec", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".trec.gz"])
@given(content=contents)
@often
def test_any_bytes_in_a_run_file_are_candidates_or_the_users_error(extension: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"run{extension}"
        file.write_bytes(content)
        try:
            found = read_trec(file, LETTERS, 5)
        except UserError as error:
            told(error)
        else:
            held = found.scores[found.rows >= 0]
            assert held.size
            assert np.isfinite(held).all()


names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=12)


@given(st.lists(names, min_size=1, max_size=6, unique=True), names, st.randoms(use_true_random=False))
@often
def test_a_run_of_any_ids_is_read_back_as_written(documents: list[str], query: str, random: Any) -> None:
    of = collection_of(dict.fromkeys(documents, "x"), {query: "x"}, {query: {documents[0]: 1}})
    rows = np.array([random.sample(range(len(documents)), len(documents))], np.int64)
    scores = np.sort(np.array([[random.uniform(-9, 9) for _ in documents]], np.float32))[:, ::-1]
    with tempfile.TemporaryDirectory() as folder:
        file = write_trec(Path(folder) / "run.trec", of, rows, scores.copy(), "t")
        assert read_trec(file, of, 9).rows.tolist() == rows.tolist()


# --- the store ---


KEYS = text_keys(["a", "b"])
GOOD = Shard(np.array([0], np.int32), KEYS, np.array([[1.0], [2.0]], np.float32)).to_bytes()
odd_shards = st.one_of(
    st.binary(max_size=400),
    st.integers(0, len(GOOD)).map(lambda end: GOOD[:end]),
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)).map(
        lambda at: GOOD[: at[0]] + bytes([GOOD[at[0]] ^ at[1]]) + GOOD[at[0] + 1 :]
    ),
)


@given(odd_shards)
@often
def test_any_bytes_in_a_shard_never_give_a_wrong_value(content: bytes) -> None:
    """Under the name of other bytes they are set aside: a lookup finds the true values or none."""
    with tempfile.TemporaryDirectory() as place, silent_store():
        folder = Path(place)
        (folder / f"00000001-{hashlib.sha256(GOOD).hexdigest()}.shard").write_bytes(content)
        values, found = RowStore(folder, {}).lookup(KEYS, [0])
        assert found.tolist() == [content == GOOD] * 2
        if content != GOOD:
            assert np.isnan(values).all()


@given(st.binary(max_size=300))
@often
def test_any_bytes_in_an_array_are_no_array(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, silent_store():
        (Path(folder) / f"name-{'0' * 64}.npy").write_bytes(content)
        assert read_array(Path(folder), "name") is None


# --- models and results ---


@given(st.one_of(st.binary(max_size=300), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["architectures", "id2label", "num_hidden_layers", "num_labels"]), inner),
    max_leaves=6).map(lambda value: json.dumps(value).encode())))  # fmt: skip
@often
def test_any_config_of_a_model_is_read_or_told(content: bytes) -> None:
    from rerankbench.rerankers.encoder import Encoder

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_bytes(content)
        Path(folder, "tokenizer.json").write_text("{}")
        Path(folder, "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
        assert all(isinstance(line, str) for line in folder_problems(Path(folder)))
        assert all(isinstance(line, str) for line in Encoder(model=folder).problems())


@given(st.binary(max_size=200))
@often
def test_any_bytes_for_weights_are_a_header_or_the_users_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.safetensors").write_bytes(content)
        try:
            safetensors_header(Path(folder, "model.safetensors"))
        except UserError as error:
            told(error)


@given(st.one_of(st.binary(max_size=100), st.fixed_dictionaries({"schema": st.just(1)}, optional={
    name: st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers()), st.just({}))
    for name in ("arm", "status", "measures", "dataset", "params", "notes", "pairs", "by_layer", "unknown")
}).map(lambda value: json.dumps(value).encode())))  # fmt: skip
@often
def test_any_result_is_read_or_told(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "result.json").write_bytes(content)
        for read in (lambda: Result.read(Path(folder)).tags(), lambda: runs.find([Path(folder)])):
            try:
                read()
            except UserError as error:
                told(error)
