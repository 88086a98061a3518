"""Configs, models, texts and ids from strangers run no code, leave no folder and reach no terminal unescaped.

Configs that name code are in the table of bad input (`bad_input.STRANGERS`); here is the rest.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import warm
from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir
from commands import run, tiny
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.commands import ui
from rerankbench.commands.hydra import hydra_section
from rerankbench.experiment.tracking import mlflow_store as tracking
from rerankbench.report import tracked

SOURCE = Path(__file__).parents[2] / "src" / "rerankbench"


# --- no code out of files ---


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_nothing_that_runs_code_out_of_files_is_used(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for name, call in calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in ("eval", "exec", "os.system", "torch.load", "yaml.load", "yaml.unsafe_load")
        assert not name.endswith((".extractall", ".extract")), "archives are read member by member"
        assert given.get("shell") != "True"
        if name in ("np.load", "np.save"):
            assert given.get("allow_pickle") == "False"
        if "trust_remote_code" in given:
            # the user's own key, or what it is handed down as
            assert given["trust_remote_code"] in (
                "False",
                "settings.trust_remote_code",
                "self.trust_remote_code",
                "code",
            )


def model_with_code(models: Path, folder: Path, sprung: Path) -> Path:
    """A reranker whose config.json names Python files of its own."""
    model = shutil.copytree(models / "base", folder / "theirs")
    config = json.loads((model / "config.json").read_text())
    names = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    (model / "config.json").write_text(json.dumps(config | {"auto_map": names}))
    (model / "evil.py").write_text(
        f"open({str(sprung)!r}, 'w').close()\n"
        "from transformers import XLMRobertaConfig as Config, XLMRobertaForSequenceClassification as Model\n"
    )
    return model


def test_a_models_own_code_runs_only_by_an_explicit_key_and_with_a_warning(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    for cls in (XLMRobertaConfig, XLMRobertaForSequenceClassification):
        monkeypatch.setattr(cls, "_auto_class", cls._auto_class)  # transformers marks what evil.py names
    sprung = tmp_path / "SPRUNG"
    model = model_with_code(models, tmp_path, sprung)
    words = [*tiny(models, tmp_path), "first_stage=bm25", "tracking=none", "reranker=base",
             f"reranker.model={model}"]  # fmt: skip
    assert run(*words) == 0
    assert not sprung.exists()
    assert "trust_remote_code" not in capsys.readouterr().err
    run(*words, "reranker.trust_remote_code=true", "reuse=false")
    said = capsys.readouterr().err
    assert "reranker.trust_remote_code=true: Python files that come with" in said
    assert "are run with all your rights" in said


def said_of(part: str, node: Any) -> list[str]:
    """What is said of a config that has a part of Hydra's section which the package's own have not."""
    usual = {"run": {"dir": "x"}, "sweep": {"dir": "x"}}
    made = OmegaConf.create({"hydra": {**usual, part: node}})
    return hydra_section.problems(made.hydra, OmegaConf.create(usual), (), ())


def test_shipped_configs_pass_the_rule_for_strangers() -> None:
    """Every launcher and sweeper of ours may be copied into an option of one's own."""
    for option in sorted(conf_folder().glob("hydra/*er/*.yaml")):
        assert said_of(option.parent.name, OmegaConf.load(option)) == [], option


@pytest.mark.parametrize(
    "text",
    ["${oc.create:{_target_: os.mkdir}}", "${oc.decode:${a}}", "${a}", "${hydra.env.x}", "${oc.env:A,{a: 1}}",
     "x${oc.select:a}", "${hydra:env.x}", "${oc.dict.values:a}"],
)  # fmt: skip
def test_a_value_that_could_become_a_target_is_refused(text: str) -> None:
    """Under keys of the list and others, and in the place of a whole part."""
    keys = (
        "_target_",
        "n_jobs",
        "params",
        "params.depth",
        "sampler",
        "sampler.seed",
        "ray.init.address",
        "x",
    )
    for part in ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging"):
        assert said_of(part, text)[0].startswith(f"hydra.{part}="), part
        for key in keys:
            node = OmegaConf.create()
            OmegaConf.update(node, key, text)
            assert said_of(part, node)[0].startswith(f"hydra.{part}.{key}="), (part, key)


# --- nothing leaves its folder ---


def test_ids_and_names_never_lead_out_of_the_folders(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    name = {key: f"../../../{key}" for key in ("007", "7", "c", "d", "q1", "q2", "q3", "gone")}
    name["7"], name["q2"] = str(tmp_path / "absolute"), "/etc/../q2"
    beir(
        home / "data",
        [(name[key], title, text) for key, title, text in CAPITALS],
        [(name[key], title, text) for key, title, text in QUESTIONS],
        [(name[query], name[document], grade) for query, document, grade in GRADES],
    )
    words = ["first_stage=bm25", "tracking=none", "reranker=base", f"reranker.model={models / 'base'}"]
    assert run(*tiny(models, home), *words, "dataset.name='../../name'") == 0
    assert {path.name for path in home.iterdir()} == {"data", "out", "cache"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_a_run_id_of_a_server_is_only_a_name(tmp_path: Path) -> None:
    class Client:
        def list_artifacts(self, run_id: str) -> list[Any]:
            return [type("Item", (), {"path": "result.json"})]

        def download_artifacts(self, run_id: str, name: str, folder: str) -> None:
            Path(folder, name).write_text('{"schema": 1, "arm": "a", "status": "failed"}')

    (tmp_path / "inside").mkdir()
    tracked.downloaded(Client(), "../../outside", tmp_path / "inside")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


# --- nothing reaches a terminal, a page or a store unescaped ---

NASTY = "\x1b[2J\x1b]0;title\x07[red]<script>alert(1)</script>=cmd|' /C calc'!A0"


def test_control_characters_never_reach_the_terminal(models: Path, tmp_path: Path) -> None:
    """In texts and ids, through a whole run and its report; in names they are refused (bad_input)."""
    documents = [(key + NASTY, NASTY, NASTY + text) for key, _, text in CAPITALS]
    queries = [(key + NASTY, "", text + NASTY) for key, _, text in QUESTIONS]
    judged = [(query + NASTY, document + NASTY, grade) for query, document, grade in GRADES]
    beir(tmp_path / "data", documents, queries, judged)
    command = ["first_stage=bm25", "reranker=base", f"reranker.model={models / 'base'}", "tracking=none"]
    done = warm.typed("-m", *tiny(models, tmp_path), *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for printed in (done.stdout, done.stderr):
        assert "\x1b" not in printed
        assert "\x07" not in printed
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page
    markdown = (tmp_path / "sweep" / "report.md").read_text()
    assert "<script" not in markdown
    assert "\x1b" not in markdown


# --- secrets ---


@pytest.mark.parametrize(
    "uri",
    [
        "http://joe:s3cret@127.0.0.1:9/?token=s3cret",
        "http://joe:pa ss'w@rd s3cret@127.0.0.1:9",
        "http://joe:pa%20ss%27s3cret@127.0.0.1:9/#token=s3cret",
        'http://joe:"s3cret@127.0.0.1:9/x#api_key=a b s3cret',
    ],
)
def test_a_password_in_an_address_is_written_nowhere(
    uri: str,
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    typed = uri.replace("'", r"\'")
    words = [*tiny(models, tmp_path), "first_stage=bm25", "reranker=none", f"tracking.uri='{typed}'"]
    assert run(*words) == 0
    assert run("-m", *words, "depth=1,2") == 0
    assert run("--cfg", "job", *words) == 0
    assert run(*words, "tracking.uri='joe:s3cret@127.0.0.1'") == 2
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err
    assert "not in MLflow" in printed.err
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert b"s3cret" not in file.read_bytes(), file


def test_parameters_in_mlflow_hold_no_password() -> None:
    found = tracking.params({"dataset.path": "https://joe:s3cret@host/x?api_key=s3cret"})
    assert [(one.key, one.value) for one in found] == [("dataset.path", "https://***@host/x?api_key=***")]


@pytest.mark.parametrize("kept", ["file:///home/you", "/home/you", "../x"])
def test_a_server_elsewhere_has_nothing_copied_into_a_folder_here(kept: str) -> None:
    with pytest.raises(UserError, match="a folder of its own machine"):
        tracking.refuse_folder("http://evil:5000", kept)
    tracking.refuse_folder("http://127.0.0.1:5000", kept)
    tracking.refuse_folder("http://evil:5000", "mlflow-artifacts:/0/1/artifacts")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty.db").touch()
    (found,) = tracking.MLflow(f"sqlite:///{tmp_path}/notes.txt").problems()
    assert "is another file, and no database; choose another place" in found
    assert tracking.MLflow(f"sqlite:///{tmp_path}/empty.db").problems() == []
    (found,) = tracking.MLflow(f"sqlite:///{tmp_path}/notes.txt?x=.db").problems()
    assert "MLflow would open another file" in found


# --- the server ---


def test_the_pages_are_served_on_loopback_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(ui.subprocess, "Popen", lambda command, **_: started.append(command))
    ui.serve(tracking.MLflow(f"sqlite:///{tmp_path}/mlflow.db"), 5001)
    (command,) = started
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert [word for word in command if "0.0.0.0" in word] == []
    with pytest.raises(UserError, match="--host"):
        ui.read(["--host", "0.0.0.0"])
