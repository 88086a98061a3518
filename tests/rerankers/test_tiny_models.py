"""The tiny models are complete, deterministic and scored by FlagEmbedding, whose faults show on them."""

import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from flagembedding_oracle import load, oracle_scores, quiet
from tiny_models import ALL, EMBEDDERS, FAMILIES, LAYERS, START_LAYER

EVERY_LAYER = list(range(START_LAYER, LAYERS + 1))
QUERIES = ["What is the capital of France?", "how many moons does Mars have", "法国的首都是哪里？", "q"]
DOCUMENTS = [
    "Paris is the capital and largest city of France.",
    "Mars has two small moons, Phobos and Deimos, discovered in 1877. " * 6,
    "北京是中国的首都。",
    "القاهرة مدينة كبيرة في مصر.",
    "भारत की राजधानी नई दिल्ली है।",
    "日本の首都は東京です。",
    "two\nlines",
    "",
]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


def digests(root: Path) -> dict[str, str]:
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def layers_of(name: str) -> list[int] | None:
    return EVERY_LAYER if FAMILIES[name] in ("layerwise", "lightweight") else None


def scores(reranker: Any, cutoff_layers: list[int]) -> np.ndarray[Any, Any]:
    with quiet():
        return np.array(reranker.compute_score(PAIRS, batch_size=8, cutoff_layers=cutoff_layers), np.float32)


# --- the folders ---


@pytest.mark.parametrize("name", ALL | EMBEDDERS)
def test_folder_is_complete_and_holds_neither_code_nor_pickle(models: Path, name: str) -> None:
    files = {file.name for file in (models / name).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files
    assert {Path(file).suffix for file in files} <= {".json", ".safetensors", ".model", ".txt"}
    assert "auto_map" not in json.loads((models / name / "config.json").read_text())


def test_another_process_builds_the_same_bytes(models: Path, tmp_path: Path) -> None:
    """Another process has its own hash seed, temporary folders and caches, and here also more threads."""
    code = "import sys, pathlib, tiny_models; list(tiny_models.build_all(pathlib.Path(sys.argv[1])))"
    folder = str(Path(tiny_models.__file__).parent)
    env = os.environ | {"PYTHONPATH": folder, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, check=True, capture_output=True)
    own, shared = digests(tmp_path), digests(models)  # where other tests put more beside them
    assert own
    assert own == {file: shared.get(file) for file in own}


@pytest.mark.parametrize("name", ALL | EMBEDDERS)
def test_seed_decides_the_weights_and_leaves_the_global_state_alone(
    models: Path, tmp_path: Path, name: str
) -> None:
    import torch

    before = torch.random.get_rng_state()
    other = (ALL | EMBEDDERS)[name](tmp_path / "other", seed=99)
    assert torch.equal(torch.random.get_rng_state(), before)
    ours, others = digests(models / name), digests(other)
    assert {file for file in ours if ours[file] != others[file]} == {"model.safetensors"}


def model_class(folder: Path) -> Any:
    import transformers
    from FlagEmbedding.inference.reranker.decoder_only.models import gemma_model, modeling_minicpm_reranker

    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    homes: list[types.ModuleType] = [gemma_model, modeling_minicpm_reranker, transformers]
    return next(getattr(home, name) for home in homes if hasattr(home, name))


@pytest.mark.parametrize("name", ALL | EMBEDDERS)
def test_every_weight_is_in_the_file(models: Path, name: str) -> None:
    with quiet():
        _, info = model_class(models / name).from_pretrained(models / name, output_loading_info=True)
    assert {kind: faults for kind, faults in info.items() if faults} == {}


# --- the tokenizers ---

SPECIAL_IDS: dict[str, dict[str, int | str]] = {
    "BertTokenizerFast": {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]"},
    "XLMRobertaTokenizerFast": {"bos": 0, "cls": 0, "pad": 1, "eos": 2, "sep": 2, "unk": 3},
    "GemmaTokenizerFast": {"pad": 0, "eos": 1, "bos": 2, "unk": 3},
    "LlamaTokenizerFast": {"unk": 0, "bos": 1, "eos": 2, "pad": 2},
}
TOKENIZERS = {
    "base": ("XLMRobertaTokenizerFast", "right", 512),
    "large": ("XLMRobertaTokenizerFast", "right", 512),
    "v2-m3": ("XLMRobertaTokenizerFast", "right", 8192),
    "gemma": ("GemmaTokenizerFast", "left", 8192),
    "minicpm-layerwise": ("LlamaTokenizerFast", "right", 2048),
    "lightweight": ("GemmaTokenizerFast", "right", 8192),
    "minilm": ("BertTokenizerFast", "right", 512),
    "bge-small-en": ("BertTokenizerFast", "right", 512),
    "bge-m3": ("XLMRobertaTokenizerFast", "right", 8192),
}


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizer_is_of_the_real_class_with_the_real_special_tokens(models: Path, name: str) -> None:
    tokenizer = tokenizer_of(models / name)
    assert (type(tokenizer).__name__, tokenizer.padding_side, tokenizer.model_max_length) == TOKENIZERS[name]
    for role, expected in SPECIAL_IDS[type(tokenizer).__name__].items():
        found = getattr(tokenizer, f"{role}_token_id" if isinstance(expected, int) else f"{role}_token")
        assert found == expected, role


@pytest.mark.parametrize("name", ["gemma", "lightweight", "minicpm-layerwise"])
def test_llm_tokenizers_keep_every_text(models: Path, name: str) -> None:
    tokenizer = tokenizer_of(models / name)
    for text in ["A: what?\nB: the passage", "北京 ١٢ ŵ 🙂", "Yes", "two  spaces"]:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_line_break_and_yes_are_tokens_as_in_the_real_models(models: Path) -> None:
    gemma, llama = tokenizer_of(models / "gemma"), tokenizer_of(models / "minicpm-layerwise")
    assert gemma.tokenize("\n") == ["\n"]
    assert llama.tokenize("\n") == ["▁", "<0x0A>"]
    assert gemma.tokenize("Yes") == ["Yes"]
    assert gemma("q").input_ids[0] == gemma.bos_token_id


@pytest.mark.parametrize("name", ["base", "minilm"])
def test_encoder_tokenizers_know_the_scripts_of_the_corpus(models: Path, name: str) -> None:
    tokenizer = tokenizer_of(models / name)
    for text in QUERIES + DOCUMENTS:
        assert tokenizer.unk_token_id not in tokenizer(text).input_ids, text


def test_pair_templates(models: Path) -> None:
    xlmr, bert = tokenizer_of(models / "base"), tokenizer_of(models / "minilm")
    assert xlmr.convert_ids_to_tokens(xlmr("A", "B").input_ids) == ["<s>", "▁A", "</s>", "</s>", "▁B", "</s>"]
    assert bert.convert_ids_to_tokens(bert("1", "2").input_ids) == ["[CLS]", "1", "[SEP]", "2", "[SEP]"]
    assert bert("1", "2").token_type_ids == [0, 0, 0, 1, 1]


# --- the oracle ---


@pytest.mark.parametrize("name", ALL)
def test_scores_are_finite_and_differ_between_pairs(models: Path, name: str) -> None:
    found = oracle_scores(FAMILIES[name], models / name, PAIRS, cutoff_layers=layers_of(name))
    assert found.dtype == np.float32
    assert found.shape == (len(PAIRS), len(layers_of(name) or [0]))
    assert np.isfinite(found).all()
    assert found.std(axis=0).min() > 0.1
    for layer in found.T:
        assert len(np.unique(layer)) == len(PAIRS)


@pytest.mark.parametrize("name", ALL)
def test_scores_do_not_depend_on_the_batch(models: Path, name: str) -> None:
    eights = oracle_scores(FAMILIES[name], models / name, PAIRS)
    ones = oracle_scores(FAMILIES[name], models / name, PAIRS, batch_size=1)
    np.testing.assert_allclose(ones, eights, atol=2e-5)


@pytest.mark.parametrize("name", ["minicpm-layerwise", "lightweight"])
def test_columns_follow_the_layers_asked_for_and_the_last_one_is_the_default(models: Path, name: str) -> None:
    found = oracle_scores(FAMILIES[name], models / name, PAIRS, cutoff_layers=EVERY_LAYER)
    turned = oracle_scores(FAMILIES[name], models / name, PAIRS, cutoff_layers=EVERY_LAYER[::-1])
    np.testing.assert_array_equal(turned, found[:, ::-1])
    np.testing.assert_array_equal(oracle_scores(FAMILIES[name], models / name, PAIRS), found[:, -1:])


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (list(ALL), {"max_length": 24}),
        (list(ALL), {"query_max_length": 3}),
        (["gemma", "minicpm-layerwise", "lightweight"], {"prompt": "Does B answer A?"}),
        (["lightweight"], {"compress_layers": [3], "compress_ratio": 2}),
    ],
    ids=["max_length", "query_max_length", "prompt", "compress"],
)
def test_options_reach_the_model(models: Path, names: list[str], options: dict[str, Any]) -> None:
    for name in names:
        plain = oracle_scores(FAMILIES[name], models / name, PAIRS[8:16])
        changed = oracle_scores(FAMILIES[name], models / name, PAIRS[8:16], **options)
        assert np.isfinite(changed).all()
        assert np.abs(changed - plain).max() > 0.01, name


def test_lightweight_score_is_the_first_head_on_plain_gemma2(models: Path) -> None:
    """The repairs change nothing else: transformers' own Gemma2Model with the same weights agrees."""
    import torch
    from safetensors.torch import load_file
    from transformers import Gemma2Config, Gemma2Model

    folder = models / "lightweight"
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    plain = Gemma2Model(Gemma2Config(**config, attn_implementation="eager")).eval()
    decoder = {name.removeprefix("model."): w for name, w in weights.items() if name.startswith("model.")}
    plain.load_state_dict(decoder)
    tokenizer = tokenizer_of(folder)
    head = weights["lm_head.0.linear_head.weight"][0]

    def score(query: str, document: str) -> list[float]:
        parts = [f"A: {query}", "\n", f"B: {document}", "\n", tiny_models.LIGHTWEIGHT_PROMPT]
        ids = [2, *(i for part in parts for i in tokenizer(part, add_special_tokens=False).input_ids)]
        with torch.no_grad():
            states = list(plain(torch.tensor([ids]), output_hidden_states=True).hidden_states)
            # The last one comes out normed, the others as the layers leave them.
            states[:-1] = [plain.norm(state) for state in states[:-1]]
            return [float(30 * torch.tanh(states[layer][0, -1] @ head / 30)) for layer in EVERY_LAYER]

    found = oracle_scores("lightweight", folder, PAIRS, cutoff_layers=EVERY_LAYER)
    np.testing.assert_allclose(found, [score(*pair) for pair in PAIRS], atol=5e-5)


# --- what FlagEmbedding 1.4.2 gets wrong: facts that our own rerankers are built around ---


def test_lightweight_score_of_a_layer_depends_on_the_others_asked_for(models: Path) -> None:
    """Heads are taken by their place in the list: 3 gets the second head after 2, and the first one alone."""
    reranker = load("lightweight", models / "lightweight")
    two, three = scores(reranker, [2, 3])
    np.testing.assert_array_equal(two, scores(reranker, [2]))
    assert np.abs(three - scores(reranker, [3])).mean() > 0.1


def test_lightweight_uses_sdpa_unless_repaired_and_sdpa_ignores_the_softcap(models: Path) -> None:
    eager = load("lightweight", models / "lightweight")
    sdpa = load("lightweight", models / "lightweight")
    sdpa.model.set_attn_implementation("sdpa")
    assert np.abs(scores(eager, [LAYERS]) - scores(sdpa, [LAYERS])).max() > 0.1
    for decoder_layer in eager.model.model.layers:
        decoder_layer.self_attn.attn_logit_softcapping = None
    np.testing.assert_allclose(scores(eager, [LAYERS]), scores(sdpa, [LAYERS]), atol=1e-4)


def test_lightweight_and_layerwise_fail_without_the_repairs(models: Path) -> None:
    import FlagEmbedding

    with quiet():
        lightweight = FlagEmbedding.LightWeightFlagLLMReranker(str(models / "lightweight"), devices="cpu")
        layerwise = FlagEmbedding.LayerWiseFlagLLMReranker(str(models / "minicpm-layerwise"), devices="cpu")
        with pytest.raises(TypeError, match="position_embeddings"):
            lightweight.compute_score(PAIRS)
        with pytest.raises(AttributeError, match="get_usable_length"):
            layerwise.compute_score(PAIRS)


def test_layerwise_gives_the_same_for_layers_together_and_alone(models: Path) -> None:
    together = scores(load("layerwise", models / "minicpm-layerwise"), EVERY_LAYER)
    alone = oracle_scores("layerwise", models / "minicpm-layerwise", PAIRS, cutoff_layers=EVERY_LAYER)
    np.testing.assert_array_equal(together.T, alone)


def test_layerwise_applies_unsorted_layers_heads_to_the_wrong_layers(models: Path) -> None:
    reranker = load("layerwise", models / "minicpm-layerwise")
    unsorted, sorted_ = scores(reranker, [4, 2]), scores(reranker, [2, 4])
    assert np.abs(unsorted - sorted_[::-1]).max() > 0.01


def test_layerwise_asks_for_fp16_by_itself_and_the_cpu_turns_it_off(models: Path) -> None:
    reranker = load("layerwise", models / "minicpm-layerwise")
    assert reranker.use_fp16 is True
    scores(reranker, [LAYERS])
    assert reranker.use_fp16 is False


# --- the embedders ---


@pytest.mark.parametrize("name", EMBEDDERS)
def test_flagembedding_embeds_with_them(models: Path, name: str) -> None:
    import FlagEmbedding

    with quiet():
        embedder = FlagEmbedding.FlagModel(str(models / name), use_fp16=False, devices="cpu")
        vectors = embedder.encode(DOCUMENTS)
    assert vectors.shape == (len(DOCUMENTS), 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T - np.eye(len(DOCUMENTS))
    assert alike.max() < 0.999
