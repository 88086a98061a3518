"""Whatever a model loads is part of its identity: nothing stored is reused after any of it changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.llm import LLM

NAMED = "names"
OWN_CODE = """
from transformers import BertForSequenceClassification

from .helper import SIGN


class Own(BertForSequenceClassification):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = SIGN * output.logits
        return output
"""


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(models / "minilm", tmp_path / "model")


def put(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def with_code(folder: Path) -> Path:
    """The folder with classes of its own, one file of which another one needs."""
    put(folder / "config.json", auto_map={"AutoModelForSequenceClassification": "modeling_own.Own"})
    (folder / "modeling_own.py").write_text(OWN_CODE)
    (folder / "helper.py").write_text("SIGN = 1\n")
    return folder


def identities(folder: Path, cache: Path, code: bool = False) -> tuple[str, str]:
    """Of the folder as a reranker and, with the same files, as an embedder."""
    weights = references.resolve(str(folder), None, cache, code)
    return weights.identity, str(
        Embedder(str(folder)).identity(weights, "fp32")["weights"],
    )


CHANGES: dict[str, Callable[[Path], Any]] = {
    "vocab.txt": lambda folder: (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n"),
    "tokenizer.json": lambda folder: put(folder / "tokenizer.json", version="1.1"),
    "tokenizer_config.json": lambda folder: put(folder / "tokenizer_config.json", do_lower_case=False),
    "special_tokens_map.json": lambda folder: put(folder / "special_tokens_map.json", pad_token="[UNK]"),
    "added_tokens.json": lambda folder: put(folder / "added_tokens.json", bread=5),
    "config.json": lambda folder: put(folder / "config.json", layer_norm_eps=1e-3),
    "a chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ query }}"),
    "a tokenizer of a version": lambda folder: (folder / "tokenizer.4.0.json").write_text("{}"),
    "a vocabulary of any name": lambda folder: (folder / "words").write_text("bread"),
    "a sentencepiece model": lambda folder: (folder / "spm.model").write_bytes(b"x"),
    "merges": lambda folder: (folder / "merges.txt").write_text("a b"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_another_model(change: str, folder: Path, hashes: Path) -> None:
    before = identities(folder, hashes)
    CHANGES[change](folder)
    after = identities(folder, hashes)
    assert all(one != other for one, other in zip(before, after, strict=True))


# --- a model's own code ---


@pytest.mark.parametrize(
    "name", ["modeling_own.py", "helper.py", "deeper/more.py", "table.bin.txt", "deeper/words"]
)
def test_code_that_runs_belongs_to_the_model(name: str, folder: Path, hashes: Path) -> None:
    with_code(folder)
    before, plain = identities(folder, hashes, code=True), identities(folder, hashes)
    assert before != plain  # the same files, but other classes compute
    (folder / name).parent.mkdir(exist_ok=True)
    with (folder / name).open("a") as file:
        file.write("\nSIGN = -1\n")
    assert identities(folder, hashes, code=True) != before
    if name.endswith(".py"):
        assert identities(folder, hashes) == plain  # it does not run


def test_code_that_negates_every_score_is_not_the_same_reranker(folder: Path, hashes: Path) -> None:
    from tiny_rerankers import scores

    pairs = [("a query", "a document"), ("what is it", "this")]
    settings = Encoder(str(with_code(folder)), trust_remote_code=True)
    found = {}
    for sign in (1, -1):
        (folder / "helper.py").write_text(f"SIGN = {sign}\n")
        usable, weights = settings.resolved(hashes)
        model = usable.load(weights, Hardware("cpu", "fp32"))
        found[weights.identity] = scores(model, pairs)
    one, other = found.values()
    assert (one == -other).all(), (one, other)


def test_trust_in_a_folder_without_code_is_the_same_model(folder: Path, hashes: Path) -> None:
    assert identities(folder, hashes, code=True) == identities(folder, hashes)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_refused(file: str, folder: Path) -> None:
    put(folder / file, auto_map={"AutoModel": "other/repository--modeling_own.Own"})
    (line,) = Encoder(str(folder), trust_remote_code=True).problems()
    assert "other/repository--modeling_own.Own" in line
    assert Encoder(str(folder)).problems() == []  # nothing of it runs


def test_code_that_is_missing_is_told(folder: Path) -> None:
    (with_code(folder) / "modeling_own.py").unlink()
    (line,) = Encoder(str(folder), trust_remote_code=True).problems()
    assert "modeling_own.py is missing" in line


@pytest.mark.parametrize(("settings", "key"), [(Encoder, "reranker"), (Embedder, "embedder")])
def test_models_that_only_their_code_knows_name_the_key(settings: Any, key: str, folder: Path) -> None:
    names = {} if key == "reranker" else {"architectures": ["Own"]}
    put(with_code(folder) / "config.json", model_type="own_kind", **names)
    (line,) = settings(str(folder)).problems()
    assert line.startswith(f"{key}.model={folder}: ")
    assert f"{key}.trust_remote_code=true" in line


def test_code_of_a_tokenizer_alone_names_the_key(folder: Path, hashes: Path) -> None:
    auto_map = {"AutoTokenizer": ["tokenization_own.Own", None]}
    put(folder / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Own")
    (folder / "tokenization_own.py").write_text(
        "from transformers import BertTokenizer\nclass Own(BertTokenizer): ...\n"
    )
    usable, weights = Encoder(str(folder)).resolved(hashes)
    with pytest.raises(UserError, match="trust_remote_code=true"):
        usable.rehearse(weights, Hardware("cpu", "fp32"))


# --- names that lead elsewhere ---

ELSEWHERE: dict[str, dict[str, Any]] = {
    "a tokenizer by its absolute path": {"tokenizer_file": "{outside}/tokenizer.json"},
    "a vocabulary by its absolute path": {"vocab_file": "{outside}/vocab.txt"},
    "a vocabulary beside the folder": {"vocab_file": "../outside/vocab.txt"},
    "a vocabulary where the command is run": {"vocab_file": "vocab.txt"},
    "merges": {"merges_file": "{outside}/merges.txt"},
    "a tokenizer of a version": {"fast_tokenizer_files": ["../outside/tokenizer.4.0.json"]},
    "what the constructor is given": {"init_inputs": ["{outside}/vocab.txt"]},
    "an option of sentencepiece": {"sp_model_kwargs": {"model_file": "{outside}/spm.model"}},
    "a dictionary": {"mecab_kwargs": {"mecab_dic": "{outside}/vocab.txt"}},
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_file_outside_the_folder_is_refused(name: str, folder: Path) -> None:
    outside = shutil.copytree(folder, folder.parent / "outside")
    text = json.dumps(ELSEWHERE[name]).replace("{outside}", str(outside))
    put(folder / "tokenizer_config.json", **json.loads(text))
    for settings in (Encoder(str(folder)), LLM(str(folder)), Embedder(str(folder))):
        lines = settings.problems()
        assert len(lines) == 1, lines
        assert "tokenizer_config.json" in lines[0]
        assert next(iter(ELSEWHERE[name])) in lines[0]


def test_names_that_are_never_followed_are_left_alone(folder: Path) -> None:
    put(
        folder / "tokenizer_config.json",
        special_tokens_map_file="/root/.cache/special_tokens_map.json",
        name_or_path="/home/someone/model",
        vocab_file=None,
        sep_token="/",
    )
    assert Encoder(str(folder)).problems() == []


def test_weights_of_another_name_are_refused(folder: Path) -> None:
    put(folder / "config.json", transformers_weights="other.safetensors")
    (line,) = Encoder(str(folder)).problems()
    assert "transformers_weights" in line


def test_links_out_of_the_folder_are_part_of_what_they_lead_to(folder: Path, hashes: Path) -> None:
    """As in the hub's own cache, where every file is one."""
    before = identities(folder, hashes)
    outside = folder.parent / "vocab"
    (folder / "vocab.txt").rename(outside)
    (folder / "vocab.txt").symlink_to(outside)
    assert identities(folder, hashes) == before
    with outside.open("a") as file:
        file.write("bread\n")
    assert identities(folder, hashes) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "words.txt", "model.safetensors"])
def test_a_pipe_is_no_file(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    lines = Encoder(str(folder)).problems()
    assert any("neither a file nor a folder" in line for line in lines)
