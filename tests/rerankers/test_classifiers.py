"""Sequence classifiers with several labels, with prompts, and with chat templates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ready_models import PAIRS, ready
from rerankbench.basics.errors import UserError
from rerankbench.rerankers.encoder import Encoder
from tiny_architectures import DECODER, WIDTH, bert_files, built
from tiny_prompted import ASSISTANT, SYSTEM, qwen_bpe
from tiny_rerankers import scores

SHORT = [pair for pair in PAIRS if len(pair[0] + pair[1]) < 200]
CHAT = (
    "<|im_start|>system\nJudge.<|im_end|>\n<Query>: "
    '{{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}\n<Document>: '
    '{{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}<|im_end|>\n'
)


def classifier(kind: str, files: Any, path: Path, labels: int, **options: Any) -> Path:
    return built(kind, "ForSequenceClassification", files, path, 0, num_labels=labels, **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classifiers")
    for labels in (2, 3):
        classifier("Bert", bert_files(), root / f"bert-{labels}", labels, **WIDTH)
        classifier("Qwen3", qwen_bpe(True), root / f"qwen3-{labels}", labels, **DECODER, pad_token_id=0)
    chat = classifier("Qwen3", qwen_bpe(True), root / "chat", 1, **DECODER, pad_token_id=0)
    (chat / "chat_template.jinja").write_text(CHAT)
    return root


def plain(folder: Path, texts: list[Any]) -> NDArray[np.float32]:
    """Logits [texts, labels], one by one, by transformers alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        rows = [model(**tokenizer(*text, return_tensors="pt")).logits[0].numpy() for text in texts]
    return np.stack(rows)


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
@pytest.mark.parametrize(("labels", "label"), [(2, 1), (2, 0), (3, 2)])
def test_of_several_labels_the_score_is_the_log_softmax_of_one(
    kind: str, labels: int, label: int, folders: Path, hashes: Path
) -> None:
    folder = folders / f"{kind}-{labels}"
    pairs = [pair for pair in SHORT if all(pair)]
    logits = plain(folder, [list(pair) for pair in pairs])
    expected = logits[:, label] - np.log(np.exp(logits).sum(axis=1))
    found = scores(ready(Encoder(str(folder), label=label), hashes), pairs)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_label_that_is_not_there_or_not_said_is_one_line(folders: Path, models: Path) -> None:
    (line,) = Encoder(str(folders / "bert-2")).problems()
    assert "has 2 labels; a reranker needs exactly one, or say" in line
    assert "reranker.label=1" in line
    for label in (2, -1):
        (line,) = Encoder(str(folders / "bert-2"), label=label).problems()
        assert f"reranker.label={label}" in line
        assert "labels 0 to 1" in line
    assert Encoder(str(models / "minilm"), label=0).problems() == []
    (line,) = Encoder(str(models / "minilm"), label=1).problems()
    assert "labels 0 to 0" in line


def test_a_prompt_goes_around_the_texts_of_a_classifier(folders: Path, hashes: Path) -> None:
    """As the conversions of Qwen3-Reranker to a classifier are used."""
    body = "<Instruct>: Find\n<Query>: {query}\n<Document>: {document}"
    settings = Encoder(str(folders / "qwen3-2"), label=1, template=SYSTEM + body + ASSISTANT, max_length=2048)
    texts = [
        [SYSTEM + body.replace("{query}", query).replace("{document}", text) + ASSISTANT]
        for query, text in SHORT
    ]
    logits = plain(folders / "qwen3-2", texts)
    expected = logits[:, 1] - np.log(np.exp(logits).sum(axis=1))
    np.testing.assert_allclose(scores(ready(settings, hashes), SHORT)[:, 0], expected, atol=1e-4)


def test_a_chat_template_is_followed_as_sentence_transformers_does(folders: Path, hashes: Path) -> None:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    reference = CrossEncoder(str(folders / "chat"), device="cpu", max_length=512, activation_fn=Identity())
    expected = reference.predict(PAIRS, batch_size=1)
    model = ready(Encoder(str(folders / "chat")), hashes)
    assert model.settings.template == "chat"  # type: ignore[attr-defined]
    np.testing.assert_allclose(scores(model, PAIRS)[:, 0], expected, atol=1e-4)
    pairs = ready(Encoder(str(folders / "chat"), template="{query}\n<Document>: {document}"), hashes)
    assert np.abs(scores(pairs, SHORT)[:, 0] - scores(model, SHORT)[:, 0]).max() > 0.01


def test_a_prompt_that_ends_in_the_padding_token_is_scored_before_it(
    folders: Path, tmp_path: Path, hashes: Path
) -> None:
    """As transformers looks for the last token that is no padding."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    folder = shutil.copytree(folders / "chat", tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(CHAT.rstrip("\n"))
    words = json.loads((folder / "tokenizer_config.json").read_text()) | {"pad_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    config = json.loads((folder / "config.json").read_text())
    model = ready(Encoder(str(folder)), hashes)
    token = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    before = scores(model, SHORT)[:, 0]
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": token}))
    reference = CrossEncoder(str(folder), device="cpu", max_length=512, activation_fn=Identity())
    found = scores(ready(Encoder(str(folder)), hashes), SHORT)[:, 0]
    np.testing.assert_allclose(found, reference.predict(SHORT, batch_size=1), atol=1e-4)
    assert np.abs(found - before).max() > 0.01


def test_prompts_that_cannot_be_are_one_line(folders: Path, models: Path, hashes: Path) -> None:
    (line,) = Encoder(str(models / "minilm"), template="{query} {document}").problems()
    assert "leave reranker.template out" in line
    (line,) = Encoder(str(folders / "chat"), template="{query}").problems()
    assert "{document} 0 times" in line
    with pytest.raises(UserError, match="chat template"):
        ready(Encoder(str(folders / "qwen3-2"), label=0, template="chat"), hashes)
    assert json.loads((folders / "qwen3-2" / "config.json").read_text())["model_type"] == "qwen3"
