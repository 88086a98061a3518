"""Folders that sentence-transformers wrote are read as they describe themselves, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ready_models import PAIRS, ready
from rerankbench.rerankers.causal import Causal
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.llm import LLM
from tiny_prompted import tiny_qwen3_reranker
from tiny_rerankers import scores

CHAT = (
    "<|im_start|>system\n{{ messages | selectattr('role', 'eq', 'system') | map(attribute='content') | "
    "join('') }}<|im_end|>\n<|im_start|>user\n<Query>: "
    "{{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n<Document>: "
    "{{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}<|im_end|>\n"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
SHORT = [pair for pair in PAIRS if len(pair[0]) < 100]  # sentence-transformers cuts long queries otherwise


def written(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def predicted(folder: Path, pairs: list[tuple[str, str]] = SHORT) -> NDArray[np.float32]:
    """What `CrossEncoder.predict` gives of the folder alone, activation and all."""
    from sentence_transformers import CrossEncoder

    return np.asarray(CrossEncoder(str(folder), device="cpu").predict(pairs, batch_size=3), np.float32)


@pytest.fixture(scope="module")
def logit_score(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model with a LogitScore, as sentence-transformers 5 saves one; read it, do not change it."""
    from sentence_transformers import CrossEncoder

    root = tmp_path_factory.mktemp("logit-score")
    base = tiny_qwen3_reranker(root / "base")
    (base / "chat_template.jinja").write_text(CHAT)
    written(base / "tokenizer_config.json", model_max_length=512)
    from torch.nn import Identity

    CrossEncoder(str(base), device="cpu", activation_fn=Identity()).save_pretrained(str(root / "saved"))
    return root / "saved"


def changed(source: Path, target: Path, files: dict[str, dict[str, Any]]) -> Path:
    shutil.copytree(source, target)
    for name, values in files.items():
        written(target / name, **values)
    return target


GENERAL, OWN, MODULE = (
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_LogitScore/config.json",
)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {MODULE: {"false_token_id": None}},
        {GENERAL: {"prompts": {"web": "Find what answers."}, "default_prompt_name": "web"}},
        {OWN: {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}}},
        {"tokenizer_config.json": {"model_max_length": 160}},
    ],
    ids=["as saved", "one token", "a prompt", "opens the answer", "short"],
)
def test_a_causal_model_with_a_logit_score_is_its_cross_encoder(
    files: dict[str, dict[str, Any]], logit_score: Path, tmp_path: Path, hashes: Path
) -> None:
    folder = changed(logit_score, tmp_path / "folder", files)
    model = ready(Causal(str(folder)), hashes)
    expected = predicted(folder)
    assert expected.std() > 0.1
    np.testing.assert_allclose(scores(model, SHORT)[:, 0], expected, atol=1e-4)


def test_what_is_given_comes_before_what_the_folder_says(logit_score: Path, hashes: Path) -> None:
    folder = str(logit_score)
    own, asked = Causal(folder), Causal(folder, yes="true", no="false")
    assert not asked.follows(logit_score)
    assert own.fitted(logit_score).template == "chat"
    assert own.fitted(logit_score).max_length == 512
    assert own.fitted(logit_score).instruction == ""
    mine = Causal(folder, instruction="Find code").fitted(logit_score)
    assert (mine.instruction, mine.template) == ("Find code", "chat")
    names = [one.fitted(logit_score).identity(own.origin(hashes), "fp32") for one in (own, mine, asked)]
    assert len({json.dumps(name, sort_keys=True) for name in names}) == 3
    assert len(names[0]["tokens"]) == 2
    assert "yes" not in names[0]


def test_a_logit_score_under_another_family_is_told_its_option(logit_score: Path) -> None:
    for kind in (Encoder, LLM):
        (line,) = kind(str(logit_score)).problems()
        assert "choose reranker=qwen3-0.6b with this reranker.model" in line
    assert Causal(str(logit_score), tokens=[1, 2, 3]).problems() == [
        "reranker.tokens=[1, 2, 3]: give the token of yes and that of no, or that of yes alone"
    ]


@pytest.mark.parametrize(
    ("name", "inverse"),
    [
        ("Identity", lambda x: x),
        ("Sigmoid", lambda x: np.log(x) - np.log1p(-x)),
    ],
)
def test_a_classifiers_scores_are_the_logits_below_its_activation(
    name: str, inverse: Any, models: Path, tmp_path: Path, hashes: Path
) -> None:
    place = "linear" if name == "Identity" else "activation"
    told = {"activation_fn": f"torch.nn.modules.{place}.{name}", "version": "5.0"}
    files = {
        "config.json": {"sentence_transformers": told},
        "tokenizer_config.json": {"model_max_length": 48},
    }
    folder = changed(models / "minilm", tmp_path / "folder", files)
    model = ready(Encoder(str(folder)), hashes)
    expected = predicted(folder)
    found = scores(model, SHORT)[:, 0]
    np.testing.assert_allclose(found, inverse(expected.astype(float)), atol=1e-4)
    np.testing.assert_array_equal(np.argsort(found.round(4)), np.argsort(inverse(expected).round(4)))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"config.json": {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.ReLU"}}},
            "take it out of the folder to go by the logits",
        ),
        ({"config.json": {"sbert_ce_default_activation_function": "mine.Odd"}}, "activation_fn is mine.Odd"),
        (
            {GENERAL: {"model_type": "CrossEncoder"}, OWN: {"config_args": {"num_hidden_layers": 1}}},
            "sets config_args.num_hidden_layers beyond what is followed here, which is not supported",
        ),
        (
            {
                GENERAL: {"model_type": "CrossEncoder"},
                OWN: {"processing_kwargs": {"text": {"padding_side": "left"}}},
            },
            "sets text.padding_side",
        ),
    ],
    ids=["not ascending", "unknown", "config", "options"],
)
def test_what_is_not_followed_is_refused(
    files: dict[str, dict[str, Any]], words: str, models: Path, tmp_path: Path
) -> None:
    (line,) = Encoder(str(changed(models / "minilm", tmp_path / "folder", files))).problems()
    assert words in line


def test_a_prompt_stands_before_queries(models: Path, tmp_path: Path, hashes: Path) -> None:
    told = {"model_type": "CrossEncoder", "prompts": {"q": "query: "}, "default_prompt_name": "q"}
    folder = changed(models / "minilm", tmp_path / "folder", {GENERAL: told})
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": 0,
                    "name": "0",
                    "path": "",
                    "type": "sentence_transformers.base.modules.transformer.Transformer",
                }
            ]
        )
    )
    written(folder / OWN, transformer_task="sequence-classification")
    found = scores(ready(Encoder(str(folder)), hashes), SHORT)[:, 0]
    expected = predicted(folder).astype(float)
    np.testing.assert_allclose(found, np.log(expected) - np.log1p(-expected), atol=1e-4)
