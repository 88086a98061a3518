"""`--help GROUP` and `--help GROUP=OPTION`: every key, with its type, default and meaning."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from commands import run
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.commands import key_help
from rerankbench.commands.hydra import config

FOLDERS = [conf_folder()]
OPTIONS = [f"{group}={file.stem}" for group in config.GROUPS for file in (FOLDERS[0] / group).glob("*.yaml")]


def entries(word: str) -> dict[str, tuple[str, str]]:
    """Key: its default and its meaning, as printed."""
    printed = key_help.text([word], FOLDERS)
    found = re.findall(r"^  ([\w.]+)=(.*?)(?:  .*)?\n((?:      .*\n?)*)", printed + "\n", re.M)
    return {key: (value, meaning.strip()) for key, value, meaning in found}


@pytest.mark.parametrize("group", config.GROUPS)
def test_a_group_has_every_key_of_its_kinds_with_what_it_means(group: str) -> None:
    found = entries(group)
    names = {key.split(".")[1] for key in found}
    assert names == {f.name for cls in config.options(group).values() for f in fields(cls)}
    assert [key for key, (_, meaning) in found.items() if not meaning] == []


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_has_its_keys_with_the_values_it_would_run_with(option: str) -> None:
    """Whatever can be set, and nothing else: each line typed back is the setting that is there."""
    group = option.partition("=")[0]
    for key, (value, meaning) in entries(option).items():
        assert key.startswith(f"{group}.")
        assert meaning, key
        assert value


def test_the_example_of_the_documentation() -> None:
    found = entries("dataset=files")
    assert found["dataset.corpus"][0] == "VALUE"
    assert "text, needed" in key_help.text(["dataset=files"], FOLDERS)
    assert found["dataset.qrels_grade_column"] == ("null", found["dataset.doc_id_column"][1])
    assert entries("embedder=minilm")["embedder.max_length"][0] == "256"  # of the option, not of the schema
    assert "[8,16,28]" in entries("reranker=minicpm-layerwise")["reranker.cutoff_layers"][1]  # its comment


def test_it_is_printed_and_mistakes_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--help", "dataset=files") == 0
    assert "dataset.corpus=VALUE" in capsys.readouterr().out
    assert run("--help", "depth") == 0
    assert "depth=null" in capsys.readouterr().out
    (tmp_path / "reranker").mkdir()
    (tmp_path / "reranker" / "mine.yaml").write_text("# Ours.\nfamily: encoder\nmax_length: 99 # enough\n")
    assert run("--config-dir", str(tmp_path), "--help", "reranker=mine") == 0
    printed = capsys.readouterr().out
    assert "Ours." in printed
    assert re.search(r"reranker.max_length=99 +whole number\n +enough", printed)
    for word, close in {"datset": "dataset", "dataset=flies": "files", "nothing": "give one of"}.items():
        with pytest.raises(UserError, match=close):
            key_help.text([word], FOLDERS)


@pytest.mark.parametrize(("text", "said"), [("model: [x\n", "theirs.yaml:2: "), ("- a\n", "holds no keys")])
def test_an_option_that_cannot_be_read_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "reranker").mkdir()
    (tmp_path / "reranker" / "theirs.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        key_help.text(["reranker=theirs"], [tmp_path, *FOLDERS])


def test_help_on_one_key_of_a_group_says_what_it_is_in_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help", "reranker.max_length", "dataset.corpus") == 0
    said = capsys.readouterr().out
    assert "rerankers of family encoder" in said
    assert "reranker.max_length=512" in said
    assert "dataset.corpus=VALUE" in said
    assert run("--help", "reranker.max_lenght") == 2


def test_completion_asked_for_by_hand_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMP_LINE", raising=False)
    assert run("--shell-completion", "query=bash") == 2
    assert "--shell-completion query=: is for shells to ask; to have it, type eval" in capsys.readouterr().err


def test_a_folder_alone_is_taken_for_a_collection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path)) == 2
    assert f"did you mean dataset=beir dataset.path={tmp_path}?" in capsys.readouterr().err
