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
from rerankbench import load_reranker
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


# --- weights ---


def reweighed(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    held = load_file(folder / "model.safetensors")
    save_file(held | change(held), folder / "model.safetensors", metadata={"format": "pt"})


QUERY = "bert.encoder.layer.0.attention.self.query"
LEFT_OVER = {
    "an adapter": ("bert-fast", f"{QUERY}.lora_A.weight", (4, 64)),
    "a bias": ("qwen3", "model.layers.0.self_attn.q_proj.bias", (64,)),
    "a norm": ("llama", "model.layers.0.self_attn.q_norm.weight", (16,)),
    "a head's bias": ("qwen3", "score.bias", (1,)),
    "scales": ("bert-fast", f"{QUERY}.weight_scale", (1,)),
}


@pytest.mark.parametrize("what", LEFT_OVER)
def test_weights_that_would_be_left_out_are_told(
    what: str, built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    """transformers drops them with a warning that nobody sees."""
    import torch

    kind, name, shape = LEFT_OVER[what]
    folder = shutil.copytree(built[kind], tmp_path / "odd")
    reweighed(folder, lambda _: {name: torch.ones(shape)})
    (line,) = attempt(Encoder(str(folder)), hashes)
    assert f"hold 1 tensors that the model of config.json has no place for, the first is {name}; " in line


def test_weights_of_other_tasks_make_no_difference(
    built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    import torch

    folder = shutil.copytree(built["roberta"], tmp_path / "odd")
    more = {
        "lm_head.dense.weight": (64, 64),
        "roberta.pooler.dense.weight": (64, 64),
        "roberta.embeddings.position_ids": (1, 514),
    }
    reweighed(folder, lambda _: {name: torch.ones(shape) for name, shape in more.items()})
    np.testing.assert_array_equal(
        attempt(Encoder(str(folder)), hashes), attempt(Encoder(str(built["roberta"])), hashes)
    )


def test_weights_that_mean_nothing_without_scales_are_refused(
    built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    import torch

    folder = shutil.copytree(built["bert-fast"], tmp_path / "odd")
    reweighed(folder, lambda held: {f"{QUERY}.weight": held[f"{QUERY}.weight"].to(torch.float8_e4m3fn)})
    (line,) = attempt(Encoder(str(folder)), hashes)
    assert f"the weights are quantized ({QUERY}.weight is F8_E4M3)" in line


def test_scores_that_are_no_numbers_are_an_error(
    built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    folder = shutil.copytree(built["bert-fast"], tmp_path / "odd")
    name = "bert.encoder.layer.0.output.dense.weight"
    reweighed(folder, lambda held: {name: held[name] * math.nan})
    model = load_reranker("base", model=str(folder), device="cpu", precision="fp32", cache_dir=hashes)
    with pytest.raises(UserError, match="the model's values are not finite"):
        model.score("mars", ["two small moons"])


def test_a_padding_token_that_is_none_is_as_if_not_said(
    built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    folder = shutil.copytree(built["llama"], tmp_path / "odd")
    put(folder / "config.json", pad_token_id=-1)
    np.testing.assert_allclose(attempt(Encoder(str(folder)), hashes), plain(folder), atol=1e-4)


def test_a_tokenizer_that_cuts_at_the_beginning_is_told(
    built: dict[str, Path], tmp_path: Path, hashes: Path
) -> None:
    folder = shutil.copytree(built["bert-fast"], tmp_path / "odd")
    put(folder / "tokenizer_config.json", truncation_side="left")
    (line,) = attempt(Encoder(str(folder)), hashes)
    assert "cuts long texts at their beginning" in line
    assert not isinstance(attempt(Encoder(str(folder), long_documents="max_passage"), hashes), list)
    put(folder / "tokenizer_config.json", truncation_side="right")
    assert not isinstance(attempt(Encoder(str(folder)), hashes), list)


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
ALSO = ["llama"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("odd")
    return {kind: SCORERS[kind](root / kind) for kind in (*KINDS, *ALSO)}


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
