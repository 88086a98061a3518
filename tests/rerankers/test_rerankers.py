"""The contract that every reranker keeps: FlagEmbedding's scores, for each pair alone, under its identity."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flagembedding_oracle import oracle_scores
from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.references import Weights, resolve
from rerankbench.engine.store.rows import identity
from rerankbench.rerankers.none import NoReranker
from rerankbench.rerankers.reranker import Reranker
from tiny_models import ALL, FAMILIES, LAYERS, LIGHTWEIGHT_PROMPT, START_LAYER
from tiny_rerankers import CLASSES, EVERY, EVERY_LAYER, LAYERED, PROMPTED, load, scores, settings, window_of

LONG = "Mars has two small moons, Phobos and Deimos, discovered in 1877. "
SHORT = {"max_length": 96}  # cuts what is overlong after a fifth of the default's tokens
QUERIES = {
    "short": "What is the capital of France?",
    "chinese": "法国的首都是哪里？",
    "arabic": "ما هي عاصمة اليابان؟",
    "hindi": "भारत की राजधानी कौन सी है?",
    "overlong": LONG * 12,
    "empty": "",
    "spaces": "   ",
    "markup": "</s> [SEP] <eos> Yes",
}
DOCUMENTS = {
    "short": "Paris is the capital and largest city of France.",
    "long": LONG * 3,
    "overlong": "北京是中国的首都，也是全国的政治和文化中心。" * 12,
    "japanese": "富士山は日本で一番高い山です。",
    "arabic": "القاهرة مدينة كبيرة في مصر، وفيها نهر النيل.",
    "unknown": "ŵ 🙂 ᚠ 龘",
    "lines": "two\n\nlines\tand a tab ",
    "empty": "",
}
# Every query with three documents and every document with three queries, the awkward ones together too.
PAIRS = [
    (query, document)
    for i, query in enumerate(QUERIES.values())
    for j, document in enumerate(DOCUMENTS.values())
    if (i + j) % 8 in (0, 4, 6) or not query + document
]
FEW = PAIRS[:12]


def oracle(name: str, models: Path, pairs: list[tuple[str, str]], **options: Any) -> NDArray[np.float32]:
    layers = EVERY_LAYER if name in LAYERED else None
    return oracle_scores(FAMILIES[name], models / name, pairs, cutoff_layers=layers, **options)


# --- the scores are FlagEmbedding's ---


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("limits", [SHORT, {"max_length": 64, "query_max_length": 9}], ids=str)
def test_scores_are_flagembeddings(name: str, limits: dict[str, int], models: Path, hashes: Path) -> None:
    model = load(settings(name, models, **limits), hashes)
    expected = oracle(name, models, PAIRS, **limits)
    assert expected.std() > 0.1
    np.testing.assert_allclose(scores(model, PAIRS), expected, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_scores_are_flagembeddings_at_the_default_length(name: str, models: Path, hashes: Path) -> None:
    pairs = [("Mars? " * 300, LONG * 60), (QUERIES["short"], LONG * 60), ("Mars? " * 300, "")]
    layers = {"cutoff_layers": [3, 6]} if name in LAYERED else {}
    found = scores(load(settings(name, models, **layers), hashes), pairs)
    expected = oracle_scores(FAMILIES[name], models / name, pairs, batch_size=3, **layers)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", PROMPTED)
def test_own_prompt(name: str, models: Path, hashes: Path) -> None:
    options = {"prompt": "Does B answer A?", **SHORT}
    found = scores(load(settings(name, models, **options), hashes), FEW)
    np.testing.assert_allclose(found, oracle(name, models, FEW, **options), atol=1e-4)


@pytest.mark.parametrize("name", ["base", "minilm"])
def test_instructions_stand_before_the_texts(name: str, models: Path, hashes: Path) -> None:
    instructions = {"query_instruction": "Who? ", "passage_instruction": "Read: "}
    model = load(settings(name, models, **instructions, **SHORT), hashes)
    prefixed = [(f"Who? {query}", f"Read: {document}") for query, document in FEW]
    np.testing.assert_allclose(scores(model, FEW), oracle(name, models, prefixed, **SHORT), atol=1e-4)


@pytest.mark.parametrize(
    ("ratio", "layers"), [(2, [3]), (4, [3]), (8, [2, 4]), (2, [4, 2, 2]), (4, [6])], ids=str
)
def test_compressed_lightweight(ratio: int, layers: list[int], models: Path, hashes: Path) -> None:
    options = {"compress_layers": layers, "compress_ratio": ratio, **SHORT}
    found = scores(load(settings("lightweight", models, **options), hashes), PAIRS)
    np.testing.assert_allclose(found, oracle("lightweight", models, PAIRS, **options), atol=1e-4)


def test_head_by_layer_is_the_layers_own_head_on_plain_gemma2(models: Path, hashes: Path) -> None:
    """transformers' own Gemma2Model, one sequence at a time, and head number (layer - start_layer)."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, Gemma2Config, Gemma2Model

    folder = models / "lightweight"
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    plain = Gemma2Model(Gemma2Config(**config, attn_implementation="eager")).eval()
    plain.load_state_dict(
        {key.removeprefix("model."): w for key, w in weights.items() if key.startswith("model.")}
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    heads = [weights[f"lm_head.{i}.linear_head.weight"][0] for i in range(LAYERS - START_LAYER + 1)]

    def expected(query: str, document: str) -> list[float]:
        parts = [f"A: {query}", "\n", f"B: {document}", "\n", LIGHTWEIGHT_PROMPT]
        ids = [2, *(i for part in parts for i in tokenizer(part, add_special_tokens=False).input_ids)]
        with torch.no_grad():
            states = list(plain(torch.tensor([ids]), output_hidden_states=True).hidden_states)
            states[:-1] = [plain.norm(state) for state in states[:-1]]
            own = [states[layer][0, -1] @ heads[layer - START_LAYER] for layer in EVERY_LAYER]
            return [float(30 * torch.tanh(value / 30)) for value in own]

    pairs = [pair for pair in PAIRS if len(pair[0]) < 100 and len(pair[1]) < 200]
    by_layer = scores(load(settings("lightweight", models, head="by_layer"), hashes), pairs)
    np.testing.assert_allclose(by_layer, [expected(*pair) for pair in pairs], atol=1e-4)
    first = scores(load(settings("lightweight", models, head="first"), hashes), pairs)
    np.testing.assert_array_equal(first[:, 0], by_layer[:, 0])
    assert np.abs(first - by_layer)[:, 1:].mean() > 0.1


# --- a score belongs to its pair alone ---


@pytest.mark.parametrize("name", EVERY)
def test_scores_do_not_depend_on_batches_or_order(name: str, models: Path, hashes: Path) -> None:
    model = load(settings(name, models, **SHORT), hashes)
    alone = np.concatenate([scores(model, [pair]) for pair in PAIRS])
    shuffled = np.random.default_rng(0).permutation(len(PAIRS))
    for sequences, tokens in ((512, 65536), (512, 1000), (3, 4096)):
        together = scores(model, [PAIRS[i] for i in shuffled], sequences, tokens)
        np.testing.assert_allclose(together, alone[shuffled], atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_batches_side_by_side_give_the_same_bits(name: str, models: Path, hashes: Path) -> None:
    """Models are shared by the threads: nothing of one batch may be seen by another."""
    model = load(settings(name, models, **SHORT), hashes)
    alone = scores(model, PAIRS, 3, 200)
    for _ in range(3):
        np.testing.assert_array_equal(scores(model, PAIRS, 3, 200, streams=4), alone)


@pytest.mark.parametrize("ratio", [2, 4])
def test_compressed_scores_do_not_depend_on_batches(ratio: int, models: Path, hashes: Path) -> None:
    options = {"compress_layers": [3, 5], "compress_ratio": ratio, **SHORT}
    model = load(settings("lightweight", models, **options), hashes)
    alone = np.concatenate([scores(model, [pair]) for pair in PAIRS])
    np.testing.assert_allclose(scores(model, PAIRS), alone, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_the_plan_knows_the_true_lengths(name: str, models: Path, hashes: Path) -> None:
    """Batches are filled by `lengths`: a sequence must be exactly as long as it was planned."""
    for limits in ({}, {"max_length": 32}, {"max_length": 32, "query_max_length": 31}):
        window = window_of(load(settings(name, models, **limits), hashes), PAIRS)
        for number, planned in enumerate(window.lengths):
            assert window.collate(np.array([number]))["input_ids"].shape == (1, planned)


# --- layers ---


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("asked", [[4], [6, 2], [5, 3, 4]], ids=str)
def test_some_layers_are_columns_of_all(name: str, asked: list[int], models: Path, hashes: Path) -> None:
    every = scores(load(settings(name, models, cutoff_layers="all", **SHORT), hashes), FEW)
    model = load(settings(name, models, cutoff_layers=asked, **SHORT), hashes)
    assert model.layers == tuple(sorted(asked))
    columns = [EVERY_LAYER.index(layer) for layer in sorted(asked)]
    np.testing.assert_allclose(scores(model, FEW), every[:, columns], atol=1e-5)


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ([4, 4], "layer 4 is named twice"),
        ([1], "no scoring head at layer 1; choose from 2 to 6"),
        ([3, 7], "no scoring head at layer 7; choose from 2 to 6"),
        ([-1], "no scoring head at layer -1; choose from 2 to 6"),
        ([], "give `all` or a list"),
        ("last", "give `all` or a list"),
        ([2.0], "give `all` or a list"),
        ([True], "give `all` or a list"),
    ],
    ids=str,
)
def test_impossible_layers_are_one_line(name: str, asked: Any, complaint: str, models: Path) -> None:
    (line,) = settings(name, models, cutoff_layers=asked).problems()
    assert f"reranker.cutoff_layers={asked}" in line
    assert complaint in line


# --- folders that do not fit ---


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("name", ["minilm", "gemma", "minicpm-layerwise", "lightweight", "bge-small-en"])
def test_a_folder_of_another_family_is_one_line(family: str, name: str, models: Path) -> None:
    problems = CLASSES[family](model=str(models / name)).problems()
    if FAMILIES.get(name) == family:
        assert problems == []
    else:
        (line,) = problems
        assert line.startswith(f"reranker.model={models / name}: ")
        assert "another folder" in line


def changed_config(source: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("labels", [2, 3])
def test_more_than_one_label_is_one_line(labels: int, models: Path, tmp_path: Path) -> None:
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    folder = changed_config(models / "minilm", tmp_path / "labels", id2label=names)
    (line,) = CLASSES["encoder"](model=str(folder)).problems()
    assert f"has {labels} labels; a reranker needs exactly one" in line


def test_problems_are_found_without_torch(models: Path) -> None:
    code = (
        "import sys\n"
        "from rerankbench.rerankers.encoder import Encoder\n"
        "from rerankbench.rerankers.lightweight import Lightweight\n"
        "folder = sys.argv[1]\n"
        "assert len(Encoder(model=folder).problems()) == 1\n"
        "assert len(Lightweight(model=folder, cutoff_layers=[9], max_length=4).problems()) >= 2\n"
        "assert not {'torch', 'transformers', 'FlagEmbedding'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(models / "lightweight")], check=True)


def test_all_mistakes_at_once(models: Path) -> None:
    wrong = settings(
        "lightweight",
        models,
        max_length=4,
        query_max_length=4,
        attention="fast",
        long_documents="max_passage",
        window_overlap=2,
        cutoff_layers=[9],
        compress_ratio=3,
        compress_layers=[],
        head="last",
    )
    keys = [line.split("=")[0].removeprefix("reranker.") for line in wrong.problems()]
    expected = {"max_length", "query_max_length", "attention", "window_overlap"}
    assert set(keys) == expected | {"cutoff_layers", "compress_ratio", "head"}


# --- identity ---

SOME_WEIGHTS = Weights(Path("/some/folder"), "sha256:0", "some")


def name_of(reranker: Reranker, weights: Weights = SOME_WEIGHTS, precision: str = "fp32") -> str:
    return identity(reranker.identity(weights, precision))


def test_a_short_max_length_alone_is_no_mistake(models: Path) -> None:
    """The default overlap of windows is no one's concern who asked for no windows."""
    assert settings("minilm", models, max_length=64).problems() == []
    (line,) = settings("minilm", models, long_documents="drop").problems()
    assert "choose truncate" in line


def test_identity_knows_precision_and_weights() -> None:
    plain = CLASSES["encoder"](model="BAAI/one")
    others = [
        name_of(plain, precision="bf16"),
        name_of(plain, Weights(Path("/some/folder"), "sha256:1", "some")),
    ]
    moved = name_of(plain, Weights(Path("/elsewhere"), "sha256:0", "other label"))
    assert len({name_of(plain), *others}) == 3
    assert moved == name_of(plain)


def test_a_default_spelled_out_is_the_same_setting() -> None:
    plain = CLASSES["encoder"](model="BAAI/one", max_length=512)
    assert name_of(dataclasses.replace(plain, query_max_length=384)) == name_of(plain)


def test_settings_count_where_they_have_an_effect() -> None:
    windows = CLASSES["encoder"](model="BAAI/one", long_documents="max_passage")
    assert name_of(dataclasses.replace(windows, window_overlap=32)) != name_of(windows)
    options = {"model": "BAAI/one", "compress_ratio": 2}
    merged = CLASSES["lightweight"](**options, compress_layers=[4, 2])
    assert name_of(CLASSES["lightweight"](**options, compress_layers=[2, 4, 4])) == name_of(merged)
    assert name_of(CLASSES["lightweight"](**options, compress_layers=[2])) != name_of(merged)


def test_a_copied_folder_is_the_same_model_and_one_byte_makes_another(models: Path, tmp_path: Path) -> None:
    here = resolve(str(models / "minilm"), None, tmp_path / "cache").identity
    copied = shutil.copytree(models / "minilm", tmp_path / "copy")
    assert resolve(str(copied), None, tmp_path / "cache").identity == here
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert resolve(str(copied), None, tmp_path / "cache").identity != here


# --- long documents in windows ---


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("limits", "overlap"),
    [({"max_length": 40}, 9), ({"max_length": 16}, 3), ({"max_length": 40, "query_max_length": 39}, 9)],
    ids=str,
)
def test_max_passage_is_the_best_window(
    name: str, limits: dict[str, int], overlap: int, models: Path, hashes: Path
) -> None:
    """Every window scored alone; windows cover the whole document and none of them is cut off again."""
    options = {"long_documents": "max_passage", "window_overlap": overlap}
    model = load(settings(name, models, **limits, **options), hashes)
    document = DOCUMENTS["long"] + DOCUMENTS["japanese"] + DOCUMENTS["short"]
    pairs = [
        (query, text) for query in (QUERIES["short"], QUERIES["overlong"]) for text in ("", "Paris", document)
    ]
    window = window_of(model, pairs)
    expected = np.full((len(pairs), len(model.layers)), -np.inf, np.float32)
    for number, owner in enumerate(window.owner):
        values = scores_of_tokens(model, window.queries[number], window.documents[number])
        expected[owner] = np.maximum(expected[owner], values)
    np.testing.assert_allclose(scores(model, pairs), expected, atol=1e-5)
    for owner, (query, text) in enumerate(pairs):
        parts = [part for part, of in zip(window.documents, window.owner, strict=True) if of == owner]
        room = model.room(len(model.tokenize_queries([query])[0]))
        assert_covers(parts, model.tokenize_documents([text])[0], room, overlap)


def scores_of_tokens(model: Any, query: Any, document: Any) -> NDArray[np.float32]:
    import torch

    arrays = model.collate([query], [document])
    with torch.inference_mode():
        return model.forward({key: torch.from_numpy(array) for key, array in arrays.items()}).numpy()[0]


def assert_covers(parts: list[Any], document: Any, room: int, overlap: int) -> None:
    """Windows are stretches of the document, at most `room` long, and leave nothing out if there is room."""
    assert len(parts) <= max(1, len(document))
    assert all(len(part) <= room for part in parts)
    if not room:
        return
    end = 0
    for part in parts:
        starts = [at for at in range(end + 1) if np.array_equal(document[at : at + len(part)], part)]
        assert starts, "a window that does not continue the ones before it"
        end = max(at + len(part) for at in starts)
    assert end == len(document)
    if len(document) <= room:
        assert len(parts) == 1
    elif overlap < room // 2:
        shared = sum(map(len, parts)) - len(document)
        assert shared == overlap * (len(parts) - 1)


@pytest.mark.parametrize("name", EVERY)
def test_windows_change_nothing_for_documents_that_fit(name: str, models: Path, hashes: Path) -> None:
    pairs = [(QUERIES["short"], text) for text in DOCUMENTS.values() if len(text) < 100]
    whole = scores(load(settings(name, models), hashes), pairs)
    windows = scores(load(settings(name, models, long_documents="max_passage"), hashes), pairs)
    np.testing.assert_array_equal(windows, whole)


# --- half precision ---


@pytest.mark.parametrize(
    "name", [name for name in EVERY if name != "monot5-base"]
)  # its scores hardly differ
def test_bf16_changes_few_orders(name: str, models: Path, hashes: Path) -> None:
    """Random weights make worse cases than trained ones; in half precision parity is a bound on the order."""
    pairs = [(query, doc) for query in QUERIES.values() for doc in DOCUMENTS.values() if query and doc]
    full = scores(load(settings(name, models, **SHORT), hashes), pairs)
    half = scores(load(settings(name, models, **SHORT), hashes, "bf16"), pairs)
    assert np.abs(half - full).max() > 0
    assert np.abs(half - full).mean() < 0.15 * full.std()
    assert flips(full, half) < 0.05


def flips(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Share of pairs of rows whose order differs, over all columns."""
    above = one[:, None] > one[None]
    return float((above & (other[:, None] < other[None])).sum() / above.sum())


# --- reading weights ---


@pytest.mark.parametrize("name", EVERY)
def test_weights_are_read_in_the_asked_precision(
    name: str, models: Path, hashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Already what transformers returns is bf16: a 9B model never passes through 36 GB of fp32."""
    import torch
    from transformers import PreTrainedModel

    original = PreTrainedModel.from_pretrained.__func__  # type: ignore[attr-defined]
    read: list[set[torch.dtype]] = []

    def spy(cls: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(cls, *args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        read.append({parameter.dtype for parameter in model.parameters()})
        return found

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(spy))
    model: Any = load(settings(name, models), hashes, "bf16")
    assert read == [{torch.bfloat16}]
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.bfloat16}
    assert not model.model.training
    assert PreTrainedModel.from_pretrained.__func__ is spy  # type: ignore[attr-defined]


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_pickled_weights_are_refused_and_never_opened(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "minilm", tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    reranker = CLASSES["encoder"](model=str(folder))
    (line,) = reranker.problems()
    assert "only pickle weights (pytorch_model.bin)" in line
    with pytest.raises(UserError, match="only pickle weights"):
        resolve(str(folder), None, tmp_path / "cache")
    with pytest.raises(UserError, match="safetensors"):  # also where the folder was not checked before
        reranker.load(Weights(folder, "sha256:0", "pickled"), Hardware("cpu", "fp32"))
    assert not (tmp_path / "sprung").exists()


def test_none_has_no_model_and_no_complaints() -> None:
    reranker = NoReranker(max_length=1, attention="fast")
    assert reranker.problems() == []
    assert reranker.layers_in({}) == ()
    with pytest.raises(NotImplementedError):
        reranker.load(SOME_WEIGHTS, Hardware("cpu", "fp32"))
