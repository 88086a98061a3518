"""What operators compute a model is part of what its scores and vectors are stored under, on GPUs alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding, EmbeddingJob, EmbeddingWorker
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget
from rerankbench.engine.models import computed_by
from rerankbench.engine.models.references import resolve
from rerankbench.engine.operators import fusing, layout
from rerankbench.engine.operators.flat_encoder import flatten
from rerankbench.engine.run_context import RunContext
from rerankbench.rerankers.bi_encoder import BiEncoder
from rerankbench.rerankers.scoring.pair_scoring import parts_of, score_store
from rerankbench.rerankers.scoring.pair_worker import PairWorker
from tiny_encoders import BODIES, BUILDS, build_model
from tiny_models import ALL
from tiny_rerankers import PROMPTED, settings

GPU, GPU_FP32, CPU = (Hardware(*each) for each in (("cuda:0", "bf16"), ("cuda:0", "fp32"), ("cpu", "bf16")))
ENCODERS = [name for name in ALL if name not in PROMPTED]


@pytest.fixture
def ragged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, and a torch, that attend to sequences as they lie."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(layout, "takes_ragged", lambda device, dtype: dtype is not torch.float32)


@pytest.fixture
def tf32() -> Iterator[None]:
    """As TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1, which some images for GPUs set, has it from the start."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ENCODERS)
def test_attention_to_sequences_as_they_lie(name: str, models: Path, hashes: Path, ragged: None) -> None:
    reranker = settings(name, models)
    weights = resolve(reranker.model, None, hashes)
    plain = reranker.identity(weights, "bf16")
    assert parts_of(reranker, weights, GPU) == plain | {"operators": "varlen_attn"}
    assert parts_of(reranker, weights, CPU) == plain
    assert "operators" not in parts_of(reranker, weights, GPU_FP32)


@BUILDS
def test_other_kinds_attend_in_rows(build: str) -> None:
    """Kinds that borrow a BERT's layers: what they are stored under does not tell how they attend."""
    ours, other = build_model(BODIES, build), build_model(BODIES, build)
    assert ours.config.model_type in fusing.FLAT
    other.config.model_type = "borrower"
    assert flatten(ours, first_only=True).head == 12
    assert flatten(other, first_only=True).head == 0  # a size that no attention over sequences takes


@pytest.mark.parametrize("name", ["base", "gemma"])
def test_products_in_tf32(name: str, models: Path, hashes: Path, tf32: None) -> None:
    reranker = settings(name, models)
    weights = resolve(reranker.model, None, hashes)
    plain = reranker.identity(weights, "fp32")
    assert parts_of(reranker, weights, GPU_FP32) == plain | {"operators": "tf32"}
    assert parts_of(reranker, weights, Hardware("cpu", "fp32")) == plain


def embedding_on(hardware: Hardware, models: Path, cache: Path) -> Embedding:
    return Embedding(Embedder(model=str(models / "bge-small-en")), hardware, cache, Budget(8, 1024))


def test_vectors_too(models: Path, hashes: Path, ragged: None) -> None:
    on_gpu, on_cpu = (embedding_on(hardware, models, hashes) for hardware in (GPU, CPU))
    assert on_gpu.folder(on_gpu.settings) != on_cpu.folder(on_cpu.settings)
    passages, queries = on_gpu.identity().values()
    assert passages.pop("operators") == queries.pop("operators") == "varlen_attn"
    assert {"passages": passages, "queries": queries} == on_cpu.identity()
    reranker = BiEncoder(model=str(models / "bge-small-en"))
    weights = resolve(reranker.model, None, hashes)
    assert parts_of(reranker, weights, GPU)["operators"] == "varlen_attn"
    assert "operators" not in parts_of(reranker, weights, CPU)


def test_a_worker_with_other_operators_is_refused(
    models: Path, hashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores and vectors would be stored under what the driver computes with."""
    reranker, context = settings("gemma", models), RunContext(CPU, hashes)
    weights, embedding = resolve(reranker.model, None, hashes), embedding_on(CPU, models, hashes)
    store = score_store(reranker, weights, context)
    hired = [
        PairWorker(reranker, weights, context, (2,), store, device="cpu", threads=None),
        EmbeddingWorker(
            *EmbeddingJob(embedding, embedding.settings, no_text, []).hiring(), device="cpu", threads=None
        ),
    ]
    monkeypatch.setattr(computed_by, "operators", lambda *_: {"operators": "liger-kernel 0.8.1"})
    for worker in hired:
        with pytest.raises(UserError, match=r"computes with liger-kernel 0\.8\.1, this run with plain torch"):
            worker.load()


def no_text(rows: Any) -> list[str]:
    return []


def test_a_folder_that_says_no_kind_has_plain_operators(tmp_path: Path, ragged: None) -> None:
    assert computed_by.operators(tmp_path, GPU) == {}


def test_norms_that_transformers_takes_from_apex(tmp_path: Path, tf32: None, monkeypatch: Any) -> None:
    """NVIDIA's images have apex, whose norms T5 then has in every precision."""
    (tmp_path / "apex").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    assert computed_by.operators(tmp_path, GPU) == {"operators": "apex"}
    assert computed_by.operators(tmp_path, GPU_FP32) == {"operators": "apex, tf32"}
    assert computed_by.operators(tmp_path, CPU) == {}
