"""The command as people meet it: help, refusals, the closing table, dry runs, and stopping it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

import faults
import warm
from commands import run, spawn, tiny

BATCH = "rerankbench.engine.loop:Loop.attempt"


def test_help_names_every_key_and_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    from rerankbench.basics.conf_folder import conf_folder
    from rerankbench.commands.hydra.config import GROUPS
    from rerankbench.experiment.config import Root

    assert run("--help") == 0
    text = capsys.readouterr().out
    for key in set(Root.__dataclass_fields__) - set(GROUPS) - {"report", "experiment"}:
        assert re.search(rf"^  {key}=.* +\w+", text, re.M), key
    for group in GROUPS:
        for file in (conf_folder() / group).glob("*.yaml"):
            assert re.search(rf"^  {re.escape(file.stem)} +\S.*\.$", text, re.M), file
    assert "Traceback" not in text


def test_help_starts_without_what_runs_need(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys; from rerankbench.__main__ import main; assert main(['--help']) == 0\n"
        "assert not {'numpy', 'pyarrow', 'torch', 'mlflow'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run("--help") == 0
    assert done.stdout == capsys.readouterr().out


def test_help_names_the_other_commands_and_how_to_see_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for command in ("rerankbench-check", "rerankbench-report", "rerankbench-cache", "rerankbench-ui"):
        assert command in text
    assert "rerankbench --cfg job dataset=files" in text
    assert max(map(len, text.split("Keys:")[0].splitlines())) <= 110


def test_every_command_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra would tell its own."""
    import rerankbench
    from rerankbench import __main__
    from rerankbench.commands import run as runner

    assert re.match(r"\d+\.\d+", rerankbench.__version__)
    project = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(project.read_text())["project"]["scripts"]
    for place in scripts.values():
        module, _, function = place.partition(":")
        main = runner.main if module == __main__.__name__ else getattr(import_module(module), function)
        with suppress(SystemExit):  # how argparse ends
            assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"rerankbench {rerankbench.__version__}\n"


def test_help_shows_ones_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reranker").mkdir()
    (tmp_path / "reranker" / "mine.yaml").write_text("# The one we deploy.\nfamily: encoder\n")
    assert run("--config-dir", str(tmp_path), "--help") == 0
    assert re.search(r"^  mine +The one we deploy\.$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize("flag", [["--cfg", "job"], ["--info", "searchpath"], ["--hydra-help"]])
def test_what_hydra_prints_works(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*flag) == 0
    printed = capsys.readouterr()
    assert len(printed.out + printed.err) > 50


def test_shells_complete_options_and_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", "rerankbench dataset=beir dataset.p")
    for shell in ("bash", "zsh", "fish"):
        assert run("--shell-completion", f"install={shell}") == 0
        assert "hydra" in capsys.readouterr().out
    assert run("--shell-completion", "query=bash") == 0
    assert capsys.readouterr().out.split() == ["dataset.path="]


def test_a_refused_command_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("depth=abc", "reranker=nine") == 2
    assert run("-m", "depth=abc,5", "tracking.uri=http://joe:s3cret@h:x:/") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(line.startswith("error: ") for line in printed.err.splitlines())
    assert "s3cret" not in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("schema", [True, False])
def test_ones_own_yaml_works_from_any_folder(
    schema: bool, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "own" / "reranker"
    group.mkdir(parents=True)
    head = "defaults: [/schema/reranker/encoder@_here_, _self_]" if schema else "family: encoder"
    (group / "mine.yaml").write_text(f"# mine\n{head}\nmodel: {models / 'base'}\nmax_length: 64\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    longer = "reranker.query_max_length=30" if schema else "+reranker.query_max_length=30"
    command = ["--config-dir=../own", "reranker=mine", longer, "first_stage=bm25", "tracking=none"]
    assert run(*command, *tiny(models, tmp_path)) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["arm"] == "bm25 + mine@2"
    assert result["params"]["reranker.max_length"] == 64
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_mistake_in_ones_own_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = tmp_path / "reranker"
    group.mkdir()
    (group / "typo.yaml").write_text("defaults: [/schema/reranker/encoder@_here_, _self_]\nmodle: x\n")
    (group / "loose.yaml").write_text("family: encoder\nmodle: x\n")
    (group / "broken.yaml").write_text("model: [x\n")
    (group / "unknown.yaml").write_text("family: bm25\nmodel: x\n")
    for name, said in {
        "typo": "modle",
        "loose": "reranker.modle=x: there is no such key; did you mean reranker.model?",
        "broken": "broken.yaml",
        "unknown": "reranker.family=bm25: choose one of bi-encoder, causal, ",
    }.items():
        assert run("--config-dir", str(tmp_path), f"reranker={name}") == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert len(printed.splitlines()) <= 2
    (tmp_path / "config.yaml").write_text("a: 1\n")
    assert run("--config-dir", str(tmp_path)) == 2
    assert "its config.yaml would take the package's place" in capsys.readouterr().err


def test_models_that_cannot_be_had_are_told_before_anything_is_computed(models: Path, tmp_path: Path) -> None:
    words = [
        "embedder.model=nobody/embedder",
        "reranker=base",
        "reranker.model=nobody/reranker",
        "tracking=none",
    ]
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    done = spawn(*tiny(models, tmp_path), *words, cwd=tmp_path, **nowhere)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2
    assert "nobody/embedder" in lines[0]
    assert "nobody/reranker" in lines[1]
    assert "embedding:" not in done.stderr
    assert not (tmp_path / "cache" / "vectors").exists()


def test_depths_below_every_list_are_no_arms_of_their_own(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["reranker=base", f"reranker.model={models / 'base'}", "first_stage=bm25", "tracking=none"]
    assert run(*base, *tiny(models, tmp_path)) == 0  # BM25 finds two documents at most, of four asked for
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["depth"], set(result["by_depth"])) == (2, {"2"})
    assert "depth=4: no query has more than 2 candidates" in capsys.readouterr().err


def test_the_closing_table(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reranker = ["reranker=base", f"reranker.model={models / 'base'}", "tracking=none"]
    assert run(*reranker, *tiny(models, tmp_path)) == 0
    text = capsys.readouterr().out
    assert re.search(r"measure .*first stage .*reranked .*change .*best possible", text)
    assert re.findall(r"│ (\S+@\d) ", text) == ["nDCG@1", "nDCG@2", "Recall@1", "Recall@2", "MRR@1", "MRR@2"]
    assert f"files      {tmp_path / 'out'}" in text
    assert "pairs      8 scored, 0 reused" in text


def test_a_dry_run_writes_nothing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    overrides = [line for line in tiny(models, tmp_path) if not line.startswith("hydra.")]
    base = ["reranker=base", f"reranker.model={models / 'base'}", "dry_run=true", *overrides]
    assert run(*base, "report.price_per_hour=2.5") == 0
    text = capsys.readouterr().out
    assert re.findall(r"^ +(workers|\d+) .+ (price|[\d.]+)$", text, re.M) == [
        ("workers", "price"), ("1", "0.00"), ("8", "0.00"), ("64", "0.00")
    ]  # fmt: skip
    assert "8 pairs to compute (at most: how many are stored is known once the candidates" in text
    assert "MB of memory" in text
    assert "MB of disk" in text
    assert run("-m", "depth=2,4", *base) == 0
    assert re.search(r"^all 2 runs: \d+", capsys.readouterr().out, re.M)
    assert run(*base, "dataset.split=nope") == 2
    assert list(cwd.iterdir()) == []
    left = {path.parent.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert not left & {"scores", "candidates"}


def test_a_dry_run_after_the_run_has_nothing_to_do(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["reranker=base", f"reranker.model={models / 'base'}", "tracking=none", *tiny(models, tmp_path)]
    assert run(*base) == 0
    assert run(*base, "dry_run=true") == 0
    text = capsys.readouterr().out
    assert "8 of 8 pairs stored: nothing to do" in text
    assert "4 of 4 documents stored: nothing to do" in text
    assert run(*base, "dry_run=true", "candidates=2") == 0  # candidates that nobody has looked for
    text = capsys.readouterr().out
    assert "4 pairs to compute (at most: how many are stored is known once the candidates are" in text
    assert run(*base, "dry_run=true", "reuse=false") == 0
    text = capsys.readouterr().out
    assert "8 pairs to compute (reuse=false uses nothing that is stored), measured" in text
    assert "4 documents to compute (reuse=false uses nothing that is stored), measured" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_clean_and_the_same_command_continues(
    number: int, code: int, models: Path, tmp_path: Path
) -> None:
    reranker = ["reranker=base", f"reranker.model={models / 'base'}", "first_stage=bm25", "tracking=none"]
    command = [*reranker, "batch_size=1", *tiny(models, tmp_path)]
    here = tmp_path / "here"
    process = warm.Command(command, tmp_path, partial(faults.wait_before, BATCH, 3, here))
    process.wait_for(here)  # two of three pairs are scored
    started = time.monotonic()
    process.signal(number)
    assert process.wait() == code, process.printed()
    assert time.monotonic() - started < 10
    assert "the same command continues" in process.printed()
    assert "Traceback" not in process.printed()
    assert not (tmp_path / "out" / "result.json").exists()
    if number == signal.SIGTERM:
        assert run(*command) == 0
        pairs = json.loads((tmp_path / "out" / "result.json").read_text())["pairs"]
        assert 1 <= pairs["reused"] < pairs["total"]


def test_libraries_stay_quiet(models: Path, tmp_path: Path) -> None:
    """The whole stack in a process of its own: what it prints on stderr is ours."""
    reranker = ["reranker=minicpm-layerwise", f"reranker.model={models / 'minicpm-layerwise'}"]
    done = spawn(*reranker, "tracking.uri=sqlite:///mlflow.db", *tiny(models, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours = re.compile(r"^(data: |candidates: |embedding: |queries: |scoring: )")
    assert [line for line in done.stderr.splitlines() if not ours.match(line)] == []
    assert "mlflow     sqlite:////" in done.stdout
