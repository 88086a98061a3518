"""Every command and Python block of the documentation is run, on tiny models where it names large ones."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir, table
from commands import own_options, run, tiny
from rerank_server import rerank_server
from rerankbench.commands.hydra import config, preflight
from tiny_prompted import tiny_qwen3_reranker

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands that need a cluster or a hub are composed and checked; test_executors and test_launchers run Ray.
ELSEWHERE = (
    "mlflow ",
    "curl ",
    "make ",
    "pip ",
    "python3 ",
    ".venv/",
    "sbatch",
    "ray ",
    "git ",
    "cd ",
    "export ",
    "rerankbench-ui",
)
SERVED = re.compile(r"\breranker=\S*(tei|vllm|infinity|cohere|jina|voyage|endpoint)\b")
OTHERS = ("executor=ray", "hydra/launcher=", "tracking.uri=http", "ir_datasets", "mteb/")


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, block) of every fenced block in a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(page.name, block) for page in PAGES for block in fence.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[str]:
    """Every shell line of the documentation, without comments, continued lines joined."""
    text = "\n".join(block for _, block in blocks("bash")).replace("\\\n", " ")
    lines = (" ".join(shlex.split(line, comments=True, posix=False)) for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if line))


@pytest.fixture
def at_home(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the documentation talks about."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RERANKBENCH_CACHE", str(tmp_path / "cache"))
    beir(tmp_path / "my_collection")
    table(tmp_path / "docs.jsonl", ("_id", "title", "text"), CAPITALS)
    table(tmp_path / "queries.csv", ("_id", "text"), [(query, text) for query, _, text in QUESTIONS])
    table(tmp_path / "qrels.tsv", ("query-id", "corpus-id", "score"), GRADES)
    (tmp_path / "my_run.trec").write_text("q1 Q0 007 1 2.0 x\nq2 Q0 c 1 1.0 x\n")
    return tmp_path


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("rerankbench ")])
def test_rerankbench_commands_run(
    command: str, models: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command.replace("/path/to/folder", str(models / "base")))[1:]
    if SERVED.search(command):
        monkeypatch.setenv("COHERE_API_KEY", "sk-4711-of-a-test")
        with rerank_server() as server:
            plain = [word for word in words if not word.startswith("reranker.url=")]
            run_command(command, [*plain, f"reranker.url={server.url}"], models, at_home)
        return
    run_command(command, words, models, at_home)


def run_command(command: str, words: list[str], models: Path, at_home: Path) -> None:
    if any(other in command for other in OTHERS):
        config.register_schemas()
        checked = preflight.check(words)
        assert checked is not None
        assert checked.jobs
        return
    overrides = [word for word in tiny(models, at_home) if not word.startswith(("dataset", "hydra"))]
    if not re.search(r"\bdataset=", command) and "experiment=tutorial" not in command:
        overrides += ["dataset=beir", "dataset.path=my_collection"]
    if "experiment=tutorial" in command:
        rows = '{"query": "capital of France?", "positive": ["Paris is the capital of France."]}\n'
        (at_home / "slice").mkdir()
        (at_home / "slice" / "dev.jsonl").write_text(rows + rows.replace("France", "Spain"))
        overrides += ["dataset.path=slice", "candidates=2"]
    if "first_stage=" in command:
        overrides = [word for word in overrides if not word.startswith("embedder")]
    own = own_options(models, at_home, minilm=f"model: {models / 'minilm'}\n")
    assert run("--config-dir", str(own), *words, *overrides, "tracking=none") == 0


def test_every_script_that_is_named_exists() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    named = {line.split()[0] for line in commands() if line.startswith("rerankbench")}
    assert named <= set(scripts)
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_every_make_target_that_is_named_exists() -> None:
    for line in commands():
        if line.startswith("make "):
            subprocess.run(
                ["make", "--dry-run", *line.split()[1:]], cwd=ROOT, check=True, capture_output=True
            )


def test_no_command_goes_unexamined() -> None:
    known = ("rerankbench", *ELSEWHERE)
    assert [line for line in commands() if not line.startswith(known)] == []


@pytest.mark.network
@pytest.mark.parametrize(("page", "block"), [found for found in blocks("python") if found[0] == "README.md"])
def test_python_blocks_run(page: str, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, page, "exec"), {})
    printed = capsys.readouterr().out
    if "what is panda?" in block:
        assert "giant panda" in printed.splitlines()[0]


def typed_on(page: str) -> list[list[str]]:
    """The words of every command behind a `$` on a page."""
    text = "".join(block for name, block in blocks("console") if name == page).replace("\\\n", " ")
    return [shlex.split(line[2:], comments=True) for line in text.splitlines() if line.startswith("$ ")]


HELP = [words for words in typed_on("command-line.md") if words[0] == "rerankbench" and "|" not in words]


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_what_is_asked_of_the_command_line_is_answered(
    words: list[str], at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1 or words[-1] == "depth"


@pytest.mark.parametrize("kind", ["function", "run"])
def test_rerankers_without_a_package_are_typed_as_the_page_says(
    kind: str, models: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (words,) = [words for words in typed_on("extend.md") if f"reranker={kind}" in words]
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (at_home / "mine.py").write_text("def scores(query, texts):\n    return [len(text) for text in texts]\n")
    (at_home / "my_run.trec").rename(at_home / "cohere.trec")
    quick = [word for word in tiny(models, at_home) if not word.startswith("embedder")]
    assert run(*words[1:], *quick, "first_stage=bm25", "tracking=none") == 0


def test_a_function_is_a_reranker_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [text for page, text in blocks("python") if page == "extend.md" and "by_length" in text]
    exec(compile(block, "extend.md", "exec"), {})
    assert "a text that is longer" in capsys.readouterr().out.partition(")")[0]


def test_a_decoder_of_ones_own_is_loaded_as_the_page_says(tmp_path: Path) -> None:
    ((_, block),) = [found for found in blocks("python") if found[0] == "rerankers.md"]
    tiny_qwen3_reranker(tmp_path / "mine")
    names: dict[str, Any] = {}
    exec(compile(block.replace("/models/mine", str(tmp_path / "mine")), "rerankers.md", "exec"), names)
    assert len(names["reranker"].rank("a query", ["a text", "another text"])) == 2


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("reference/"):  # pages that make docs writes
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_option_that_is_a_model_is_in_the_table_as_its_file_says() -> None:
    """Its model, its family, its parameters, and whether it was verified."""
    page = (ROOT / "docs" / "rerankers.md").read_text(encoding="utf-8")
    table = [cells for line in page.splitlines() if len(cells := line.split("|")) == 10]
    rows = {cells[1].strip(" `"): cells for cells in table}
    for file in sorted((ROOT / "conf" / "reranker").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
        if "model" not in values or values["model"].startswith("wheel:"):
            assert "model" not in values or file.stem in rows, file.stem
            continue
        _, _, model, family, parameters, _, licence, _, verified, _ = rows[file.stem]
        assert model.partition(",")[0].strip() == values["model"]  # of a service, "by whose API" follows
        assert f"schema/reranker/{family.strip()}@" in text
        if "parameters_m" in values:
            number = float(parameters.strip(" MB")) * (1000 if "B" in parameters else 1)
            assert number == pytest.approx(values["parameters_m"], rel=0.03)
        assert ("parameters_m" in values) != (family.strip() == "endpoint")
        assert licence.strip()
        assert verified.strip() in ("real weights", "kind", "no")
