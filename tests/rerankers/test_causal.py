"""Rerankers that choose between two answers score as their model cards say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ready_models import FP32, LONG, PAIRS, ready
from rerankbench import load_reranker
from rerankbench.basics.errors import UserError
from rerankbench.engine.models import references
from rerankbench.engine.models.prompt_template import PROBES, PromptTemplate
from rerankbench.rerankers.causal import QWEN3, Causal
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.llm import LLM
from rerankbench.rerankers.reranker import PairModel, Reranker
from tiny_architectures import DECODER, causal, gemma_files, llama_files
from tiny_prompted import (
    SYSTEM,
    mxbai_recipe,
    opened,
    qwen3_card,
    tiny_mxbai_reranker,
    tiny_qwen3_reranker,
)
from tiny_rerankers import scores


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen3_reranker(tmp_path_factory.mktemp("causal") / "qwen3")


@pytest.fixture(scope="module")
def mxbai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_mxbai_reranker(tmp_path_factory.mktemp("causal") / "mxbai")


def preset(name: str, cache: Path, **options: Any) -> PairModel:
    """As the option of this name with another model."""
    options = {"device": "cpu", "precision": "fp32", "cache_dir": cache} | options
    return load_reranker(name, **options).model


@pytest.mark.parametrize("limit", [8192, 400, 160], ids=str)
def test_without_more_keys_scores_are_those_of_qwen3_rerankers_card(
    limit: int, qwen3: Path, hashes: Path
) -> None:
    found = scores(ready(Causal(str(qwen3), max_length=limit), hashes), PAIRS)[:, 0]
    expected = np.concatenate([qwen3_card(qwen3, PAIRS[i : i + 8], limit) for i in range(0, len(PAIRS), 8)])
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("option", ["qwen3-0.6b", "qwen3-4b", "qwen3-8b"])
def test_the_options_of_qwen3_are_the_family_alone(option: str, qwen3: Path, hashes: Path) -> None:
    settings = preset(option, hashes, model=qwen3).settings
    assert replace(settings, parameters_m=0.0) == ready(Causal(str(qwen3)), hashes).settings
    plain = load_reranker(qwen3, family="causal", device="cpu", precision="fp32", cache_dir=hashes)
    assert plain.model.settings == replace(settings, parameters_m=0.0)


def test_another_instruction_is_the_cards(qwen3: Path, hashes: Path) -> None:
    asked = "Find code that solves the problem?\n"
    found = scores(ready(Causal(str(qwen3), instruction=asked), hashes), PAIRS[:12])[:, 0]
    np.testing.assert_allclose(found, qwen3_card(qwen3, PAIRS[:12], instruction=asked), atol=1e-4)


@pytest.mark.parametrize("option", ["mxbai-v2-base", "mxbai-v2-large"])
@pytest.mark.parametrize("limit", [None, 400], ids=str)
def test_mxbai_is_its_library(option: str, limit: int | None, mxbai: Path, hashes: Path) -> None:
    """Whose max_length leaves out the fixed parts of the prompt, and counts `query:` as the query's."""
    model: Any = preset(option, hashes, model=mxbai)
    if limit:
        fixed = len(model.before) + len(model.after) - len(model.tokenizer("query:")["input_ids"])
        options = {"max_length": limit + fixed, "query_max_length": limit * 3 // 4 - 2}
        model = preset(option, hashes, model=mxbai, **options)
    found, expected = scores(model, PAIRS)[:, 0], mxbai_recipe(mxbai, PAIRS, limit or 8192)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_mxbai_with_an_instruction_of_ones_own(mxbai: Path, hashes: Path) -> None:
    model: Any = preset("mxbai-v2-base", hashes, model=mxbai)
    template = list(model.settings.template)
    template[1] = "instruction: {instruction}\n" + template[1]
    other = preset("mxbai-v2-base", hashes, model=mxbai, template=template, instruction="be strict")
    expected = mxbai_recipe(mxbai, PAIRS[:12], instruction="be strict")
    np.testing.assert_allclose(scores(other, PAIRS[:12])[:, 0], expected, atol=1e-4)


# --- prompts of one's own ---


@pytest.mark.parametrize(
    "template",
    [
        "Document: {document}\nQuery: {query}\nIs it relevant? ",
        "<|im_start|>{query}<|im_end|>{document}<|im_end|>",
        '{query} is answered by "{document}": ',
        ["{document}", "{query}"],
        "A:{query}\n\nB:{document}\n",
    ],
    ids=str,
)
def test_a_prompt_is_the_tokens_of_the_whole_text(template: Any, mxbai: Path, hashes: Path) -> None:
    model: Any = ready(Causal(str(mxbai), template=template), hashes)
    _, tokenizer = opened(mxbai)
    texts = [template] if isinstance(template, str) else template
    for query, document in [*PAIRS, *((a, b) for a in PROBES for b in PROBES)]:
        tokens = model.join(model.tokenize_queries([query])[0], model.tokenize_documents([document])[0])
        filled = [text.replace("{query}", query).replace("{document}", document) for text in texts]
        assert tokens.tolist() == [i for text in filled for i in tokenizer(text)["input_ids"]]


def test_what_stands_behind_the_document_is_never_cut(mxbai: Path, hashes: Path) -> None:
    model: Any = ready(Causal(str(mxbai), template="{query}: {document} Relevant?", max_length=24), hashes)
    row = model.join(model.tokenize_queries([LONG])[0], model.tokenize_documents([LONG])[0])
    assert len(row) == 24
    assert model.tokenizer.decode(row).endswith(" Relevant?")


def test_a_query_is_cut_and_its_document_stays(qwen3: Path, hashes: Path) -> None:
    model: Any = ready(Causal(str(qwen3), query_max_length=5), hashes)
    text = model.tokenizer.decode(
        model.join(model.tokenize_queries([LONG])[0], model.tokenize_documents(["It is."])[0])
    )
    assert "\n<Document>: It is.<|im_end|>" in text
    assert LONG[:30] not in text


def test_padding_is_on_either_side_without_effect(qwen3: Path, hashes: Path) -> None:
    """The card pads on the left, we on the right: alone and beside a longer one a pair has one score."""
    model = ready(Causal(str(qwen3)), hashes)
    alone = np.concatenate([scores(model, [pair]) for pair in PAIRS[:14]])
    np.testing.assert_allclose(scores(model, PAIRS[:14]), alone, atol=2e-5)


def test_only_two_rows_of_the_vocabulary_are_read(qwen3: Path, hashes: Path) -> None:
    model: Any = ready(Causal(str(qwen3)), hashes)
    assert model.answers.rows.shape == (2, 64)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"template": "{query}"}, "has {document} 0 times"),
        ({"template": ["{query}", "{query} {document}"]}, "has {query} 2 times"),
        ({"template": 3}, "give a text, or a list"),
        ({"yes": ""}, "reranker.yes is empty"),
        ({"no": "yes"}, "give two answers"),
    ],
    ids=str,
)
def test_impossible_settings_are_one_line(options: dict[str, Any], words: str, qwen3: Path) -> None:
    (line,) = Causal(str(qwen3), **options).problems()
    assert words in line


def refused(settings: Reranker, cache: Path) -> str:
    usable, weights = settings.resolved(cache)
    with pytest.raises(UserError) as found:
        usable.rehearse(weights, FP32)
    (line,) = found.value.problems
    return line


def test_what_only_the_tokenizer_tells_is_refused_before_the_weights_are_read(
    qwen3: Path, tmp_path: Path, hashes: Path
) -> None:
    assert "is 2 tokens" in refused(Causal(str(qwen3), yes="yes yes"), hashes)
    assert "the prompt alone takes" in refused(Causal(str(qwen3), max_length=40), hashes)
    gemma = causal("Gemma3Text", gemma_files, tmp_path / "gemma", **DECODER)
    line = refused(Causal(str(gemma), template="{query}\n{document}", yes="Yes", no="No"), hashes)
    assert "joins the prompt with the texts in it; give reranker.template as a list" in line
    apart = ["{query}\n", "{document}\n"]
    assert ready(Causal(str(gemma), template=apart, yes="Yes", no="No"), hashes)


def test_a_qwen3_reranker_under_another_family_is_told_its_option(qwen3: Path) -> None:
    for kind in (LLM, Encoder):
        (line,) = kind(str(qwen3)).problems()
        assert "choose reranker=qwen3-0.6b with this reranker.model" in line


def test_another_model_under_this_family_is_told_its_option(
    mxbai: Path, tmp_path: Path, models: Path
) -> None:
    def said(folder: Path) -> str:
        (line,) = Causal(str(folder), max_length=256).problems()
        return line

    assert "choose reranker=mxbai-v2-base" in said(mxbai)
    assert "choose reranker=gemma" in said(models / "gemma")
    assert "choose reranker=base" in said(models / "minilm")
    assert "choose reranker=minicpm-layerwise" in said(models / "minicpm-layerwise")
    assert "choose reranker=lightweight" in said(models / "lightweight")
    assert "holds LlamaForCausalLM with a tokenizer that lacks <think>" in said(
        causal("Llama", llama_files, tmp_path / "llama", **DECODER)
    )


def test_an_instruction_that_stands_nowhere_is_no_other_model(qwen3: Path, hashes: Path) -> None:
    weights = references.resolve(str(qwen3), None, hashes)
    plain = Causal(str(qwen3), template="{query} {document}")
    other = replace(plain, instruction="other", template=["{query} {document}"])
    assert plain.identity(weights, "fp32") == other.identity(weights, "fp32")
    assert Causal("a/b").identity(weights, "fp32")["template"] == list(QWEN3)
    assert QWEN3[0] == SYSTEM


def test_texts_that_no_prompt_can_be_told_apart_from_are_an_error(qwen3: Path) -> None:
    _, tokenizer = opened(qwen3)
    with pytest.raises(ValueError, match="joins the prompt"):
        PromptTemplate.of(tokenizer, "{query}{document}", "")
