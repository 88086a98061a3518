"""Model folders of strangers: whatever is changed in them, the score is right or one line says why not."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flagembedding_oracle import quiet
from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import folder_problems
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.llm import LLM
from rerankbench.rerankers.reranker import Reranker
from tiny_architectures import SCORERS
from tiny_rerankers import scores

FP32 = Hardware("cpu", "fp32")
PAIRS = [
    ("what is the capital of France?", "Paris is the capital."),
    ("mars", "two small moons " * 2),
    ("", "b"),
]
SECONDS = 10.0


def put(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def attempt(asked: Reranker, cache: Path) -> Any:
    """Scores of PAIRS, or the lines that say why there are none. Anything else that is raised is a fault."""
    started = time.monotonic()
    try:
        if problems := asked.problems():
            raise UserError(problems)
        usable, weights = asked.resolved(cache)
        usable.rehearse(weights, FP32)
        found: Any = scores(usable.load(weights, FP32), PAIRS)[:, 0]
    except UserError as error:
        found = error.problems
    if isinstance(found, list):
        assert found
        assert all("\n" not in line and len(line) < 700 for line in found)
    assert time.monotonic() - started < SECONDS
    return found


def plain(folder: Path) -> Any:
    """Scores of PAIRS by transformers alone, one at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with quiet(), torch.no_grad():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
        batches = (tokenizer([q], [d], return_tensors="pt") for q, d in PAIRS)
        return np.array([float(model(**batch).logits[0, 0]) for batch in batches])


# --- one value ---

HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("config.json", {"model_type": ["bert"]}, "model_type is ['bert'], not a name"),
    ("config.json", {"model_type": {"a": 1}}, "not a name"),
    ("config.json", {"num_hidden_layers": 10_000_000}, "num_hidden_layers is 10000000, but the weights are"),
    ("config.json", {"num_hidden_layers": 1e7}, "not a whole number"),
    ("config.json", {"num_hidden_layers": 2}, "it has 2 layers, but the weights are of 3"),
    ("config.json", {"num_hidden_layers": "3"}, "not a whole number"),
    ("config.json", {"hidden_size": 10**9}, "hidden_size is 1000000000, more than any model has"),
    ("config.json", {"hidden_size": 128}, "by config.json"),
    ("config.json", {"hidden_size": -1}, "not a whole number"),
    ("config.json", {"vocab_size": 10**12}, "more than any model has"),
    ("config.json", {"vocab_size": 20}, "by config.json"),
    ("config.json", {"intermediate_size": 10**9}, "more than any model has"),
    ("config.json", {"max_position_embeddings": 10**9}, "more than any model"),
    ("config.json", {"num_attention_heads": 10**9}, "more than any model has"),
    ("config.json", {"num_attention_heads": 5}, "cannot be loaded"),
    ("config.json", {"num_attention_heads": 0}, "cannot be loaded"),
    ("config.json", {"num_labels": 10**9, "id2label": None}, "num_labels is 1000000000, but the weights are"),
    ("config.json", {"type_vocab_size": 10**9}, "more than any model has"),
    ("config.json", {"architectures": "Bert"}, "not a list of names"),
    ("config.json", {"architectures": []}, "not a sequence classifier"),
    ("config.json", {"id2label": ["a"]}, "not an object"),
    ("config.json", {"auto_map": "x"}, "not an object"),
    ("config.json", {"pad_token_id": "[PAD]"}, "not a whole number"),
    ("config.json", {"hidden_act": "no such"}, "cannot be loaded"),
    ("config.json", {"layer_norm_eps": "small"}, "layer_norm_eps is 'small', where"),
    ("config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized (bitsandbytes)"),
    ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized (gptq)"),
    ("config.json", {"quantization_config": {"quant_method": "awq"}}, "quantized (awq)"),
    ("config.json", {"quantization_config": [1]}, "quantized"),
    ("config.json", {"text_config": {"num_hidden_layers": 10**8}}, "but the weights are"),
    ("tokenizer_config.json", {"pad_token": ["x"]}, "cannot be loaded"),
    ("tokenizer_config.json", {"tokenizer_class": "NoSuchTokenizer"}, ""),
    ("tokenizer_config.json", {"model_max_length": "long"}, ""),
    ("tokenizer.json", {"model": {"type": "NoSuch"}}, "cannot be loaded"),
]


@pytest.mark.parametrize(("file", "values", "words"), HOSTILE, ids=str)
def test_a_hostile_value_is_one_line_at_once(
    file: str, values: dict[str, Any], words: str, models: Path, tmp_path: Path, hashes: Path
) -> None:
    folder = shutil.copytree(models / "minilm", tmp_path / "odd")
    put(folder / file, **values)
    found = attempt(Encoder(str(folder)), hashes)
    if isinstance(found, list):
        (line,) = found
        assert words in line
    else:
        assert words == ""
        np.testing.assert_allclose(found, plain(models / "minilm"), atol=1e-4)


@pytest.mark.parametrize(
    "text", ["[]", "null", "1", '"text"', "", "{", "[" * 200_000, '{"a":' * 100_000, "\xff"]
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_json_that_is_no_object_is_one_line(
    text: str, file: str, models: Path, tmp_path: Path, hashes: Path
) -> None:
    folder = shutil.copytree(models / "minilm", tmp_path / "odd")
    (folder / file).write_bytes(text.encode("latin-1"))
    for asked in (Encoder(str(folder)), LLM(str(folder))):
        assert len(attempt(asked, hashes)) >= 1
    assert Embedder(str(folder)).problems()


def test_configs_nested_deeply_are_no_trace(models: Path, tmp_path: Path, hashes: Path) -> None:
    folder = shutil.copytree(models / "minilm", tmp_path / "odd")
    nested: Any = 1
    for _ in range(300):
        nested = {"a": nested}
    for file in ("config.json", "tokenizer_config.json"):
        put(folder / file, more=nested)
    attempt(Encoder(str(folder)), hashes)
    assert all("\n" not in line for line in folder_problems(folder))


# --- anything ---

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
)
KINDS = ["bert-fast", "roberta", "albert", "modernbert-mean", "qwen3"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("odd")
    return {kind: SCORERS[kind](root / kind) for kind in KINDS}


FEW = settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(data=st.data(), value=VALUES, kind=st.sampled_from(KINDS))
def test_one_changed_value_is_scored_as_transformers_does_or_refused(
    data: st.DataObject, value: Any, kind: str, built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    folder = tmp_path / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built[kind], folder)
    file = folder / data.draw(st.sampled_from(["config.json", "config.json", "tokenizer_config.json"]))
    key = data.draw(st.sampled_from(sorted(json.loads(file.read_text()))))
    put(file, **{key: value})
    found = attempt(Encoder(str(folder), max_length=64), hashes)
    if not isinstance(found, list):
        expected = plain(folder)
        assert np.isnan(expected).any() or np.abs(found - expected).max() < 1e-4, (key, value)


@FEW
@given(place=st.floats(0, 1), flip=st.integers(1, 255), name=st.integers(0, 9))
def test_one_changed_byte_is_never_a_trace(
    place: float, flip: int, name: int, built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    folder = tmp_path / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built["bert-fast"], folder)
    files = sorted(file for file in folder.iterdir())
    file = files[name % len(files)]
    content = bytearray(file.read_bytes())
    limit = min(len(content), 4000) if file.suffix == ".safetensors" else len(content)  # its header
    content[math.floor(place * (limit - 1))] ^= flip
    file.write_bytes(content)
    attempt(Encoder(str(folder), max_length=64), hashes)
