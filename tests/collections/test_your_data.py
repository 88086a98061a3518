"""docs/your-data.md: every command in it runs, and so does its Python."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir, jsonl, table
from commands import own_options
from rerankbench.commands import report as report_command
from rerankbench.commands import run as runner
from rerankbench.commands.cache import command as cache_command
from rerankbench.commands.check import command as check_command
from rerankbench.commands.hydra import config, preflight
from rerankbench.experiment.tracking.result import Result

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your-data.md").read_text("utf-8")
INDEX = (Path(__file__).resolve().parents[2] / "docs" / "index.md").read_text("utf-8")
EVERY = re.findall(r"^```sh\n(.+?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
COMPARISON = [command for command in EVERY if command.startswith(("rerankbench -m ", "rerankbench-report "))]
SAVED = [command for command in EVERY if "my-data" in command]
COMMANDS = [command for command in EVERY if command not in [*COMPARISON, *SAVED]]
PYTHON = re.findall(r"^```python\n(.+?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
ONLINE = ("dataset=hub", "dataset=ir_datasets")
UNRACED = "report.race.seconds=0"


@pytest.fixture
def desk(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the page names."""
    data = beir(tmp_path / "my-beir")
    files, runs = tmp_path / "my-files", tmp_path / "my-runs"
    table(files / "articles.csv", ("id", "title", "story"), CAPITALS)
    table(files / "questions.tsv", ("id", "text"), [(i, text) for i, _, text in QUESTIONS])
    (files / "judged.qrels").write_text("".join(f"{q} 0 {d} {grade}\n" for q, d, grade in GRADES))
    documents = [{"id": None, "metadata": {"source": i}, "page_content": text} for i, _, text in CAPITALS]
    (files / "documents.json").write_text(json.dumps(documents))
    jsonl(files / "train.jsonl", [{"query": "capital?", "pos": ["Paris"], "neg": ["a river", "a town"]}])
    runs.mkdir()
    (runs / "bm25.trec").write_text("q1 Q0 7 1 2.0 x\nq1 Q0 007 2 1.0 x\nq2 Q0 c 1 1.0 x\n")
    table(runs / "mine.parquet", ("topic_number", "url", "points"), [("q1", "007", 2.5), ("q2", "c", 1.0)])
    (tmp_path / "my-models").mkdir()
    (tmp_path / "my-models" / "my-reranker").symlink_to(models / "base")
    (tmp_path / "my-models" / "my-embedder").symlink_to(models / "bge-small-en")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RERANKBENCH_CACHE", str(tmp_path / "cache"))
    assert data.is_dir()
    return tmp_path


def quick(words: list[str], models: Path) -> list[str]:
    """The words with tiny models where the page leaves the choice to defaults, untracked and not raced."""
    small = [f"reranker.model={models / 'minilm'}", f"embedder.model={models / 'bge-small-en'}",
             "tracking=none", "device=cpu", "precision=fp32", "hydra.run.dir=my-output",
             UNRACED]  # fmt: skip
    named = {word.partition("=")[0] for word in words}
    return [*words, *(word for word in small if word.partition("=")[0] not in named)]


def test_the_page_names_every_way() -> None:
    assert len(COMMANDS) >= 12
    assert all("\n" not in command for command in COMMANDS)
    assert all(
        any(f"dataset={kind}" in command for command in COMMANDS) for kind in ("beir", "files", *["hub"])
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:70])
def test_every_command_runs(
    command: str, desk: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(command)
    if any(word in ONLINE for word in words):  # checked as far as that is possible without a network
        config.register_schemas()
        assert preflight.check(quick(words, models)) is not None
    elif program == "rerankbench":
        assert runner.main(quick(words, models)) == 0
        assert Result.read(desk / "my-output").status == "ok"
    elif program == "rerankbench-check":
        assert check_command.main(words) == 0
    else:
        assert program == "rerankbench-cache"
        (desk / "cache").mkdir()
        assert cache_command.main(words) == 0
    assert "error" not in capsys.readouterr().err


def test_what_is_saved_is_run(desk: Path, models: Path) -> None:
    check, later = (shlex.split(command) for command in SAVED)
    assert check_command.main(check[1:]) == 0
    assert runner.main(quick(later[1:], models)) == 0
    assert Result.read(desk / "my-output").status == "ok"


def test_a_run_is_compared_with_bm25(desk: Path, models: Path) -> None:
    """Two sweeps and one report, in this order."""
    *sweeps, together = (shlex.split(command) for command in COMPARISON)
    assert len(sweeps) == 2
    own = own_options(models, desk, minilm=f"model: {models / 'minilm'}\n")
    for _, *words in sweeps:
        small = [word for word in quick(words, models) if not word.startswith("reranker.model")]
        assert runner.main(["--config-dir", str(own), *small]) == 0
    assert report_command.main([*together[1:], UNRACED]) == 0
    page = (desk / "my-report" / "report.md").read_text()
    for arm in ("run + minilm@2", "bm25 + minilm@2", "bm25 without reranking"):  # lists of two
        assert arm in page


def test_its_python_prints_the_figures_of_the_run(
    desk: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first, second = PYTHON
    words = ["dataset=beir", "dataset.path=my-beir", "first_stage=run", "first_stage.path=my-runs/bm25.trec",
             "reranker=base", "reranker.model=my-models/my-reranker"]  # fmt: skip
    assert runner.main(quick(words, models)) == 0
    capsys.readouterr()
    figure = Result.read(desk / "my-output").measures["reranked"]["ndcg_at_10"]
    exec(first, {})
    (printed,) = re.findall(r"nDCG@10: ([0-9.]+)", capsys.readouterr().out)
    assert float(printed) == pytest.approx(figure, abs=1e-9)
    exec(second, {})
    assert re.search(rf"nDCG@10 0\.\d+ -> {figure:.4f}", capsys.readouterr().out)


def test_data_frames_make_a_collection(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PYTHON[0], {})
    assert "2 documents, 1 judged queries, 1 judgements" in capsys.readouterr().out


def test_the_first_pages_python_compares_what_it_is_given(
    desk: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block, unjudged = re.findall(r"^```python\n(.+?)\n```$", INDEX, re.MULTILINE | re.DOTALL)
    documents = pd.DataFrame({"id": ["d1", "d2"], "text": ["Cats hunt at night.", "Dogs need a walk."]})
    given = {"documents": documents, "queries": {"q1": "when do cats hunt"}, "judgements": {"q1": {"d1": 1}}}
    own = f'load_reranker("minilm", model={str(models / "minilm")!r})'
    exec(block.replace('load_reranker("minilm")', own), given)
    assert given["collection"].query_ids == ["q1"]  # type: ignore[attr-defined]
    capsys.readouterr()
    exec(unjudged.replace('load_reranker("minilm")', own), given)
    assert "| no reranking | minilm |" in capsys.readouterr().out
