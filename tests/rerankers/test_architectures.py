"""Models of every architecture score as other implementations do, or are refused."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flagembedding_oracle import oracle_scores
from ready_models import FP32, ready
from rerankbench.basics.errors import UserError
from rerankbench.engine.models import references
from rerankbench.engine.models.model_config import CHECKED
from rerankbench.rerankers.causal import Causal
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.llm import KNOWN, LLM, OWN
from rerankbench.rerankers.reranker import Reranker
from tiny_architectures import (
    CAUSAL,
    SCORERS,
    WIDTH,
    bert_files,
    classifier,
    llama_files,
    qwen_files,
    roberta_files,
    sentencepiece,
)
from tiny_models import _unigram_model
from tiny_prompted import t5_files
from tiny_rerankers import scores

LONG = "Mars has two small moons, Phobos and Deimos, discovered in 1877. "
QUERIES = ["what is the capital of France?", "", "法国的首都是哪里？ " * 3]
DOCUMENTS = ["Paris is the capital.", LONG * 60, "北京是中国的首都", "two\n\nlines ", "", "ŵ 🙂 ᚠ"]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
NO_EMPTY = [pair for pair in PAIRS if all(pair)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("architectures")


def folder_of(name: str, builders: dict[str, Any], built: Path) -> Path:
    folder = built / f"{'c-' if builders is CAUSAL else ''}{name}"
    return folder if folder.exists() else builders[name](folder)


def refusal(settings: Reranker, cache: Path) -> str:
    """The one line that keeps a model from being used, found without loading its weights."""

    def use() -> None:
        usable, weights = settings.resolved(cache)
        usable.rehearse(weights, FP32)

    with pytest.raises(UserError) as found:
        use()
    (line,) = found.value.problems
    assert "\n" not in line
    return line


def cross_encoder(folder: Path, attention: str, pairs: list[tuple[str, str]]) -> NDArray[np.float32]:
    """Logits by sentence-transformers, which cuts the document's end as we do unless the query is long."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    options = {"attn_implementation": attention}
    model = CrossEncoder(
        str(folder), device="cpu", max_length=512, model_kwargs=options, activation_fn=Identity()
    )
    return np.asarray(model.predict(pairs, batch_size=6), np.float32)


def changed(source: Path, target: Path, file: str = "config.json", **values: Any) -> Path:
    """A copy with some values of a JSON file set, or taken out where they are None."""
    shutil.copytree(source, target)
    content = json.loads((target / file).read_text()) | values
    (target / file).write_text(
        json.dumps({key: value for key, value in content.items() if value is not None})
    )
    return target


# --- scores ---


@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_those_of_sentence_transformers(name: str, built: Path, hashes: Path) -> None:
    folder = folder_of(name, SCORERS, built)
    model = ready(Encoder(str(folder)), hashes)
    pairs = PAIRS if model.template.size else NO_EMPTY  # type: ignore[attr-defined]
    found = scores(model, pairs)[:, 0]
    expected = cross_encoder(folder, model.settings.attention, pairs)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=5e-5)
    alone = np.concatenate([scores(model, [pair])[:, 0] for pair in pairs])
    np.testing.assert_allclose(alone, found, atol=2e-5)


def test_every_kind_that_is_called_checked_is_checked_here_or_among_the_six() -> None:
    held = {name.partition("-")[0] for name in SCORERS} | {"deberta-v2", "gemma3_text"}
    others = {"bert", "xlm-roberta", "minicpm", "cost_wise_gemma"}
    assert {*CHECKED} <= held | others


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_models_score_as_flagembedding_scores_them(name: str, built: Path, hashes: Path) -> None:
    folder = folder_of(name, CAUSAL, built)
    model = ready(LLM(str(folder), yes="Yes", max_length=96), hashes)
    if name == "gemma2":  # with attention as it was trained, which FlagEmbedding leaves out
        assert model.settings.attention == "eager"
        return
    expected = oracle_scores("llm", folder, PAIRS, max_length=96, batch_size=6)
    np.testing.assert_allclose(scores(model, PAIRS), expected, atol=5e-5)


def test_capped_attention_is_never_left_out(built: Path, hashes: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = changed(folder_of("gemma2", CAUSAL, built), built / "capped", attn_logit_softcapping=0.5)
    model: Any = ready(LLM(str(folder), yes="Yes"), hashes)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    query, document = (model.tokenize([text], "", None)[0] for text in ("a query", "a document"))
    inputs = model.collate([query], [document])
    with torch.no_grad():
        ids = torch.from_numpy(inputs["input_ids"])
        logits = plain(input_ids=ids).logits[0, -1]
        found = model.forward({name: torch.from_numpy(array) for name, array in inputs.items()})
    yes = model.tokenizer("Yes", add_special_tokens=False)["input_ids"][0]
    assert float(found[0, 0]) == pytest.approx(float(logits[yes]), abs=2e-5)


def test_another_answer_is_its_first_tokens_logit(built: Path, hashes: Path) -> None:
    folder = folder_of("qwen2", CAUSAL, built)
    yes, one = (scores(ready(LLM(str(folder), yes=word), hashes), NO_EMPTY[:3]) for word in ("Yes", "1"))
    assert np.abs(yes - one).min() > 1e-3
    spelled = LLM("BAAI/x", yes="Yes").identity(references.Weights(folder, "sha256:0", "x"), "fp32")
    assert spelled == LLM("BAAI/x").identity(references.Weights(folder, "sha256:0", "x"), "fp32")


# --- attention ---


@pytest.mark.parametrize("name", ["electra", "mpnet", "deberta-v2", "gemma2"])
def test_what_has_no_sdpa_is_eager_by_itself_and_says_so(name: str, built: Path, hashes: Path) -> None:
    folder = folder_of(name, SCORERS, built)
    asked = Encoder(str(folder))
    usable, weights = asked.resolved(hashes)
    assert usable.identity(weights, "fp32")["attention"] == "eager"
    spelled, _ = Encoder(str(folder), attention="eager").resolved(hashes)
    assert spelled == usable  # and so the same scores


@pytest.mark.parametrize("name", ["roberta", "albert", "modernbert-cls", "qwen3"])
def test_what_has_sdpa_keeps_it(name: str, built: Path, hashes: Path) -> None:
    usable, _ = Encoder(str(folder_of(name, SCORERS, built))).resolved(hashes)
    assert usable.attention == "sdpa"


def test_modernbert_does_not_compile_itself(built: Path, hashes: Path) -> None:
    """transformers 4 has it do so at its first batch on a GPU, where Triton is installed."""
    model: Any = ready(Encoder(str(folder_of("modernbert-cls", SCORERS, built))), hashes)
    assert getattr(model.model.config, "reference_compile", False) is False


# --- padding ---


@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_a_decoder_without_a_padding_token_reads_the_last_one(name: str, built: Path, hashes: Path) -> None:
    """As transformers does for a single pair; it refuses several."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = changed(folder_of(name, SCORERS, built), built / f"{name}-no-pad", pad_token_id=None)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        content = json.loads((folder / file).read_text())
        content.pop("pad_token", None)
        (folder / file).write_text(json.dumps(content))
    model = ready(Encoder(str(folder)), hashes)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    few = [pair for pair in NO_EMPTY if len(pair[1]) < 512]
    with torch.no_grad():
        expected = [plain(**tokenizer([q], [d], return_tensors="pt")).logits.item() for q, d in few]
    np.testing.assert_allclose(scores(model, few)[:, 0], expected, atol=5e-5)


def test_an_encoder_without_a_padding_token_is_padded_under_the_mask(built: Path, hashes: Path) -> None:
    source = folder_of("bert-fast", SCORERS, built)
    folder = changed(source, built / "null-pad", "tokenizer_config.json", pad_token=None)
    (folder / "special_tokens_map.json").unlink()
    found = scores(ready(Encoder(str(folder)), hashes), PAIRS)
    np.testing.assert_array_equal(found, scores(ready(Encoder(str(source)), hashes), PAIRS))


def test_two_empty_texts_have_a_score_where_pairs_have_no_special_tokens(built: Path, hashes: Path) -> None:
    model = ready(Encoder(str(folder_of("qwen2", SCORERS, built))), hashes)
    together = scores(model, [("", ""), ("a", LONG)])
    np.testing.assert_allclose(together[:1], scores(model, [("", "")]), atol=2e-5)


def test_cutting_and_padding_that_a_tokenizers_file_asks_for_is_left_out(built: Path, hashes: Path) -> None:
    source = folder_of("modernbert-cls", SCORERS, built)
    folder = shutil.copytree(source, built / "padded")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 200},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    found = scores(ready(Encoder(str(folder)), hashes), PAIRS)
    np.testing.assert_array_equal(found, scores(ready(Encoder(str(source)), hashes), PAIRS))


# --- positions ---


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("albert", 512),
        ("roberta", 512),
        ("mpnet", 512),
        ("distilbert", 512),
        ("electra", 512),
        ("camembert", 512),
    ],
)
def test_positions_beyond_the_table_are_refused_and_the_last_one_is_read(
    name: str, most: int, built: Path, hashes: Path
) -> None:
    folder = folder_of(name, SCORERS, built)
    (line,) = Encoder(str(folder), max_length=most + 1).problems()
    assert f"reranker.max_length={most + 1}: the model reads at most {most} tokens" in line
    model = ready(Encoder(str(folder), max_length=most), hashes)
    assert np.isfinite(scores(model, [("q", LONG * 60)])).all()


def test_positions_that_are_computed_have_no_end(built: Path, hashes: Path) -> None:
    for name in ("modernbert-mean", "qwen3", "deberta-v2"):
        model = ready(Encoder(str(folder_of(name, SCORERS, built)), max_length=700), hashes)
        assert np.isfinite(scores(model, [("q", LONG * 60)])).all()


# --- what cannot be scored right ---


FACTORS = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "original_max_position_embeddings": 66}


@pytest.mark.parametrize(
    "rope", [{"rope_type": "dynamic"}, {"type": "dynamic"}, {"rope_type": "longrope"} | FACTORS]
)
def test_positions_that_a_longer_text_would_change_are_not_used(
    rope: dict[str, Any], built: Path, tmp_path: Path, hashes: Path
) -> None:
    """Such models look at the longest text of a batch: a score would depend on what is beside it."""
    folder = shutil.copytree(folder_of("qwen2", SCORERS, built), tmp_path / "scaled")
    config = json.loads((folder / "config.json").read_text())
    config |= {"rope_scaling": {"factor": 4.0} | rope, "max_position_embeddings": 66}
    (folder / "config.json").write_text(json.dumps(config))
    line = "reranker.max_length=65: the model reads at most 64 tokens; give no more"
    assert Encoder(str(folder), max_length=65).problems() == [line]
    model = ready(Encoder(str(folder), max_length=64), hashes)
    alone = [scores(model, [pair])[0, 0] for pair in PAIRS]
    np.testing.assert_allclose(scores(model, PAIRS)[:, 0], alone, atol=1e-5)

    config |= {"architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 512}
    config["rope_scaling"].pop("original_max_position_embeddings", None)
    (folder / "config.json").write_text(json.dumps(config))
    prompt = {"template": "{query} {document}", "yes": "a", "no": "b"}
    assert Causal(str(folder), max_length=512, **prompt).problems() == []
    (line,) = Causal(str(folder), **prompt).problems()
    assert "reranker.max_length=8192: the model reads at most 512 tokens" in line
    (line,) = LLM(str(folder), yes="Yes").problems()  # the prompt comes on top
    assert "reranker.max_length=512: the model reads at most 3" in line


@pytest.mark.parametrize("labels", [2, 3])
def test_more_labels_than_one_are_refused(labels: int, built: Path, tmp_path: Path) -> None:
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    folder = changed(folder_of("roberta", SCORERS, built), tmp_path / "labels", id2label=names)
    (line,) = Encoder(str(folder)).problems()
    assert f"has {labels} labels; a reranker needs exactly one" in line


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_models_that_are_not_known_to_say_yes_are_refused(name: str, built: Path) -> None:
    folder = folder_of(name, CAUSAL, built)
    (line,) = LLM(str(folder)).problems()
    assert "reranker.yes=Yes" in line
    assert LLM(str(folder), yes="Yes").problems() == []


def test_a_qwen3_reranker_is_called_what_it_looks_like(built: Path, tmp_path: Path) -> None:
    source = folder_of("qwen3", CAUSAL, built)
    thinking = changed(
        source, tmp_path / "think", "tokenizer_config.json", chat_template="<think>\n\n</think>"
    )
    assert "looks like a Qwen3-Reranker" in LLM(str(thinking)).problems()[0]
    chat = changed(source, tmp_path / "chat", "tokenizer_config.json", chat_template="{{ messages }}")
    assert "has a chat template" in LLM(str(chat)).problems()[0]
    score = shutil.copytree(source, tmp_path / "score")
    kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.cross_encoder.LogitScore"]
    (score / "modules.json").write_text(json.dumps([{"type": kind, "path": ""} for kind in kinds]))
    assert "compares two answers" in LLM(str(score)).problems()[0]


def test_gemmas_own_is_known_and_comes_first() -> None:
    assert KNOWN[0] == OWN


def test_a_sequence_classifier_with_more_modules_is_refused(built: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder_of("roberta", SCORERS, built), tmp_path / "more")
    kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Dense"]
    (folder / "modules.json").write_text(json.dumps([{"type": kind, "path": ""} for kind in kinds]))
    (line,) = Encoder(str(folder)).problems()
    assert "Dense" in line


def test_a_kind_that_was_never_tried_is_tried_out_first(tmp_path: Path, hashes: Path) -> None:
    """ERNIE reads what the mask allows; XLNet takes the last position, padding or not."""
    ernie = classifier("Ernie", bert_files, tmp_path / "ernie", **WIDTH)
    found = scores(ready(Encoder(str(ernie)), hashes), PAIRS[:6])[:, 0]
    np.testing.assert_allclose(found, cross_encoder(ernie, "eager", PAIRS[:6]), atol=5e-5)
    xlnet = classifier(
        "XLNet",
        partial(sentencepiece, "XLNetTokenizerFast", _unigram_model),
        tmp_path / "xlnet",
        d_model=64,
        n_layer=2,
        n_head=4,
        d_inner=128,
    )
    assert "the pairs beside it" in refusal(Encoder(str(xlnet)), hashes)


def test_t5_reads_a_pair_and_goes_by_what_it_decodes_last(tmp_path: Path, hashes: Path) -> None:
    own = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "eos_token_id": 1}
    t5 = classifier("T5", t5_files, tmp_path / "t5", **own, pad_token_id=0, decoder_start_token_id=0)
    model = ready(Encoder(str(t5)), hashes)
    np.testing.assert_allclose(scores(model, PAIRS)[:, 0], cross_encoder(t5, "eager", PAIRS), atol=1e-4)
    assert np.isfinite(scores(model, [("a </s> b", "c </s>"), ("a", "b")])).all()  # ends within texts


def test_other_encoder_decoders_are_refused(tmp_path: Path) -> None:
    sizes = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    bart = classifier("Bart", roberta_files, tmp_path / "bart", d_model=64, **sizes)
    (line,) = Encoder(str(bart)).problems()
    assert "an encoder-decoder, which is not supported" in line


@pytest.mark.parametrize("files", [roberta_files, llama_files, qwen_files], ids=lambda files: files.__name__)
def test_another_models_tokenizer_is_refused_where_it_cannot_be_right(
    files: Any, tmp_path: Path, hashes: Path
) -> None:
    folder = classifier("Bert", files, tmp_path / "short", **WIDTH, vocab_size=100)
    line = refusal(Encoder(str(folder)), hashes)
    assert "tokens, its model 100" in line


def test_types_of_tokens_that_the_model_has_not_are_refused(tmp_path: Path, hashes: Path) -> None:
    folder = classifier("Bert", bert_files, tmp_path / "types", **WIDTH, type_vocab_size=1)
    assert "tells 2 types of tokens apart, its model knows 1" in refusal(Encoder(str(folder)), hashes)


def test_a_tokenizer_that_joins_pairs_in_a_way_of_its_own_is_refused(built: Path, hashes: Path) -> None:
    folder = shutil.copytree(folder_of("bert-fast", SCORERS, built), built / "swapped")
    content = json.loads((folder / "tokenizer.json").read_text())
    pair = content["post_processor"]["pair"]
    first, second = (next(p for p in pair if p.get("Sequence", {}).get("id") == name) for name in "AB")
    i, j = pair.index(first), pair.index(second)
    pair[i], pair[j] = second, first
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "does not put the second text" in refusal(Encoder(str(folder)), hashes)


def test_slow_tokenizers_score_the_same(built: Path, tmp_path: Path, hashes: Path) -> None:
    """A tokenizer that exists in Python only, here BERT's with the fast one out of reach."""
    source = bert_folder(tmp_path)
    slow = shutil.copytree(source, tmp_path / "slow")
    content = json.loads((slow / "tokenizer_config.json").read_text()) | {
        "tokenizer_class": "BertJapaneseTokenizer"
    }
    content |= {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece", "do_lower_case": True}
    (slow / "tokenizer_config.json").write_text(json.dumps(content))
    (slow / "tokenizer.json").unlink()
    model = ready(Encoder(str(slow)), hashes)
    assert not model.tokenizer.is_fast
    few = [pair for pair in PAIRS if "".join(pair).isascii()]  # Japanese is cut into words otherwise
    expected = scores(ready(Encoder(str(source)), hashes), few)
    np.testing.assert_allclose(scores(model, few), expected, atol=1e-6)


def bert_folder(root: Path) -> Path:
    return classifier("Bert", bert_files, root / "bert", **WIDTH)


# --- folders that transformers 5 wrote ---


def in_words_of_version_5(source: Path, target: Path, rope: dict[str, Any]) -> Path:
    """A folder as transformers 5.0 writes it: rotary bases in one place, tokenizers of a class of its own."""
    bases = ("rope_theta", "rope_scaling", "rope_local_base_freq", "global_rope_theta", "local_rope_theta")
    folder = changed(
        source, target, **dict.fromkeys(bases), rope_parameters=rope, transformers_version="5.0.0"
    )
    file = folder / "tokenizer_config.json"
    written = json.loads(file.read_text())
    written["tokenizer_class"] = "TokenizersBackend"
    written.pop("additional_special_tokens", None)
    written |= {"backend": "tokenizers", "is_local": True, "extra_special_tokens": ["<extra>"]}
    file.write_text(json.dumps(written))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    return folder


def one(theta: float, **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta} | more


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VERSION_5: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "qwen3": (one(1234.0), {"rope_theta": 1234.0}),
    "llama": (one(77.0, **LLAMA3), {"rope_theta": 77.0, "rope_scaling": LLAMA3}),
    "gemma2": (one(500.0), {"rope_theta": 500.0}),
    "gemma3": (
        {"full_attention": one(300.0, rope_type="linear", factor=2.0), "sliding_attention": one(50.0)},
        {
            "rope_theta": 300.0,
            "rope_local_base_freq": 50.0,
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        },
    ),
    "modernbert-mean": (
        {"full_attention": one(900.0), "sliding_attention": one(30.0)},
        {"global_rope_theta": 900.0, "local_rope_theta": 30.0},
    ),
}


@pytest.mark.parametrize("name", VERSION_5)
def test_rotary_bases_of_version_5_are_those_of_version_4(name: str, built: Path, tmp_path: Path) -> None:
    source, (fifth, fourth) = folder_of(name, SCORERS, built), VERSION_5[name]
    types = {"model_input_names": ["input_ids", "attention_mask"]}
    older = changed(
        changed(source, tmp_path / "4", **fourth), tmp_path / "4t", "tokenizer_config.json", **types
    )
    newer = in_words_of_version_5(source, tmp_path / "5", fifth)
    expected = scores(ready(Encoder(str(older)), tmp_path / "cache"), NO_EMPTY)
    np.testing.assert_array_equal(scores(ready(Encoder(str(newer)), tmp_path / "cache"), NO_EMPTY), expected)
    plain = scores(ready(Encoder(str(source)), tmp_path / "cache"), NO_EMPTY)
    assert np.abs(expected - plain).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("qwen3", {"rope_parameters": one(1e4, partial_rotary_factor=0.5)}, "a part of each head"),
        ("qwen3", {"rope_parameters": {"rope_type": "default"}}, "None for rope_theta"),
        ("qwen3", {"rope_parameters": [1]}, "not an object"),
        ("qwen3", {"rope_parameters": {"full_attention": one(1.0)}}, "are not known for model_type qwen3"),
        ("modernbert-cls", {"rope_parameters": one(1e4)}, "lack full_attention"),
        (
            "modernbert-cls",
            {
                "rope_parameters": {"full_attention": one(1e4), "sliding_attention": one(1e4)},
                "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            },
            "in an order that",
        ),
        ("albert", {"rope_parameters": one(1e4)}, "are not known for model_type albert"),
    ],
    ids=str,
)
def test_what_version_5_says_otherwise_is_refused(
    name: str, values: dict[str, Any], words: str, built: Path, tmp_path: Path
) -> None:
    folder = changed(folder_of(name, SCORERS, built), tmp_path / "5", **values)
    (line,) = Encoder(str(folder)).problems()
    assert words in line


def test_a_kind_that_only_version_5_is_known_to_write_is_refused(tmp_path: Path) -> None:
    ernie = classifier("Ernie", bert_files, tmp_path / "ernie", **WIDTH)
    (line,) = Encoder(str(changed(ernie, tmp_path / "5", transformers_version="5.3.0"))).problems()
    assert "transformers 5 wrote it" in line


def test_tokenizers_of_version_5_tell_texts_apart_where_they_say_so(built: Path, tmp_path: Path) -> None:
    """ALBERT's do in version 4 only; BERT's do in both."""
    source = folder_of("albert", SCORERS, built)
    none = {"model_input_names": ["input_ids", "attention_mask"]}
    older = changed(source, tmp_path / "4", "tokenizer_config.json", **none)
    newer = changed(source, tmp_path / "5", "tokenizer_config.json", backend="tokenizers")
    expected = scores(ready(Encoder(str(older)), tmp_path / "cache"), PAIRS)
    np.testing.assert_array_equal(scores(ready(Encoder(str(newer)), tmp_path / "cache"), PAIRS), expected)
    bert = bert_folder(tmp_path)
    kept = changed(bert, tmp_path / "5b", "tokenizer_config.json", backend="tokenizers")
    found = scores(ready(Encoder(str(kept)), tmp_path / "cache"), PAIRS)
    np.testing.assert_array_equal(found, scores(ready(Encoder(str(bert)), tmp_path / "cache"), PAIRS))


def test_a_token_that_the_model_has_not_is_told_when_a_text_holds_it(built: Path, tmp_path: Path) -> None:
    folder = changed(
        folder_of("llama", SCORERS, built),
        tmp_path / "more",
        "tokenizer_config.json",
        extra_special_tokens=["<new>"],
    )
    model = ready(Encoder(str(folder)), tmp_path / "cache")
    assert np.isfinite(scores(model, NO_EMPTY)).all()
    with pytest.raises(UserError, match="'<new>'"):
        scores(model, [("a <new> one", "b")])
