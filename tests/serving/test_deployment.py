"""deploy.yaml: what is written beside a report is what was measured, and nothing else is loaded from it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.basics.errors import UserError
from rerankbench.commands import report, serve
from rerankbench.commands.serve import deployments, findings_of, parser
from rerankbench.report import deployment
from rerankbench.report.arrangements.course import Course, Ordered
from rerankbench.report.deployment import Deployment
from rerankbench.serving import arm as arms
from rerankbench.serving import trust
from rerankbench.serving.models import Models
from rerankbench.serving.server import bound, listen
from served_sweep import ask, served


@pytest.fixture(scope="module")
def written(swept: Path) -> Deployment:
    return deployment.read(swept / deployment.FILE)


def test_it_names_what_the_report_says_to_deploy(swept: Path, written: Deployment) -> None:
    told = json.loads((swept / "report.json").read_text())
    assert written.arm == (told["verdict"]["arm"] or told["decision"]["arm"])
    entry = next(arm for arm in told["arms"] if arm["name"] == written.arm)
    assert written.figures["mean"] == entry["mean"]
    assert written.figures["cost"] == entry["cost"]
    assert written.judgements["fingerprint"] == told["dataset"]["fingerprint"]
    run = json.loads((swept / Path(entry["run"]).name / "result.json").read_text())
    assert [step.hash for step in written.steps] == [run["identity"]["reranker"]]
    assert written.first_stage.hash == run["identity"]["candidates"]
    assert written.steps[0].settings["max_length"] == 512
    assert written.steps[0].precision == "fp32"


def test_it_can_be_read_back(written: Deployment, tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text(written.to_yaml())
    assert deployment.read(tmp_path / "deploy.yaml") == written


def test_it_serves_without_its_sweep(swept: Path, tmp_path: Path) -> None:
    shutil.copy(swept / "deploy.yaml", tmp_path / "elsewhere.yaml")
    [found] = deployments(tmp_path / "elsewhere.yaml", [])
    assert arms.load(found, Models(), tmp_path).searching is not None


def test_every_arm_of_the_report_can_be_served_by_its_name(swept: Path) -> None:
    """Also cascades, fusions and early exits; their order is the one that the report computed."""
    findings = findings_of(swept)
    names = deployment.names(findings)
    assert len(set(names)) == len(names)
    assert findings.arranged
    by_kind = {
        each.kind: i
        for i, each in enumerate(findings.arranged.field.arrangements, len(findings.contest.arms))
    }
    chosen = [names[by_kind[kind]] for kind in ("cascade", "fusion", "early exit")]
    with served(swept, *chosen) as service:
        from rerankbench.report.arms.arms import contest
        from rerankbench.report.arms.runs import find
        from rerankbench.serving.replay import Measured, questions

        runs = find([swept])
        for name in chosen:
            made = service.arms[name].deployment
            found = Measured(made, contest(runs, "ndcg_at_10"), runs)
            for question in questions(found, None):
                body = {"query": question.query, "arm": name, "top_k": 12}
                answer = ask(service, "/search", body).json()
                wanted = [question.ids[position] for position in found.order[question.row].tolist()]
                assert [entry["doc_id"] for entry in answer["results"]] == wanted
        for name in chosen:
            answer = ask(service, "/rerank", {"model": name, "query": "a", "documents": ["b", "c", "d"]})
            needs = service.arms[name].deployment.needs_first_stage
            assert answer.status_code == (400 if needs else 200)
            if not needs:
                scores = [entry["relevance_score"] for entry in answer.json()["results"]]
                assert scores == sorted(scores, reverse=True)


def test_a_model_with_another_hash_is_refused(swept: Path, models: Path, tmp_path: Path) -> None:
    written = deployments(swept, ["base@12"])[0].to_yaml()
    (tmp_path / "deploy.yaml").write_text(written.replace(str(models / "base"), str(models / "large")))
    [found] = deployments(tmp_path / "deploy.yaml", [])
    with pytest.raises(UserError, match="its weights have changed"):
        arms.load(found, Models(), tmp_path)


def test_weights_that_are_overwritten_while_they_are_served_change_nothing(
    swept: Path, models: Path, tmp_path: Path
) -> None:
    """In place, as `cp` does it, or cut off, by which a process with the file in its memory would end."""

    def answers() -> list[Any]:
        body = {"query": "what hunts?", "texts": ["a lion", "the sea"], "raw_scores": True}
        found = ask(service, "/search", {"query": "what hunts?"}).json()["results"]
        return [ask(service, "/rerank", body).json(), found]

    text = deployments(swept, ["base@12"])[0].to_yaml()
    for name in ("base", "bge-small-en"):
        shutil.copytree(models / name, tmp_path / name)
        text = text.replace(str(models / name), str(tmp_path / name))
    (tmp_path / "deploy.yaml").write_text(text)
    with served(tmp_path / "deploy.yaml") as service:
        before = answers()
        for file in tmp_path.glob("*/*.safetensors"):
            with file.open("r+b") as weights:
                weights.seek(-10_000, os.SEEK_END)
                weights.write(b"\x3c" * 10_000)
            os.truncate(file, 5_000)
        assert before == answers()


def test_another_collection_is_told_and_texts_are_still_reranked(
    swept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = swept.parent / "data"
    shutil.copytree(data, tmp_path / "data")
    with (tmp_path / "data" / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "new", "title": "", "text": "one more"}\n')
    text = deployments(swept, ["base@12"])[0].to_yaml().replace(str(data), str(tmp_path / "data"))
    (tmp_path / "deploy.yaml").write_text(text)
    with served(tmp_path / "deploy.yaml") as service:
        assert "there is no search" in caplog.text
        assert ask(service, "/rerank", {"query": "a", "documents": ["b"]}).status_code == 200
        answer = ask(service, "/search", {"query": "a"})
        assert (answer.status_code, "have changed since" in answer.json()["error"]) == (503, True)


def test_where_nothing_can_be_deployed_an_earlier_file_goes(swept: Path, tmp_path: Path) -> None:
    """A report of runs without their configs, which could not be loaded again."""
    shutil.copytree(swept, tmp_path / "sweep")
    for folder in (tmp_path / "sweep").glob("*/.hydra"):
        shutil.rmtree(folder)
    report.build([str(tmp_path / "sweep")], None)
    assert not (tmp_path / "sweep" / "deploy.yaml").exists()
    with pytest.raises(UserError, match=r"has no .hydra/config.yaml"):
        deployments(tmp_path / "sweep", ["base@12"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"is not a deploy\.yaml; write one with rerankbench-report FOLDER"),
        ("[]", r"is not a deploy\.yaml; write one with"),
        ("{", "is not YAML"),
        ("a: &a [1]\nb: *a\n", "aliases"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("schema: 1\narm: x\n", "Field required"),
        ("[" * 50_000, "levels"),
        ("\x00", "is not YAML"),
    ],
)
def test_what_is_no_deployment_is_told_in_a_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "deploy.yaml").write_text(text)
    with pytest.raises(UserError, match=why) as error:
        deployment.read(tmp_path / "deploy.yaml")
    assert all("\n" not in line and len(line) < 500 for line in error.value.problems)


@pytest.mark.parametrize("key", ["schema", "arm", "steps", "first_stage", "cache_dir", "machine"])
@pytest.mark.parametrize("value", [None, [], {}, 7, "x", [[]], [{"reranker": 3}], float("nan")])
def test_a_value_of_another_type_is_told(
    written: Deployment, tmp_path: Path, key: str, value: object
) -> None:
    values = yaml.safe_load(written.to_yaml())
    if type(values[key]) is type(value):
        return
    (tmp_path / "deploy.yaml").write_text(yaml.safe_dump(values | {key: value}))
    with pytest.raises(UserError, match=r"deploy\.yaml: "):
        deployment.read(tmp_path / "deploy.yaml")


def test_an_unknown_key_is_told(written: Deployment, tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text(written.to_yaml() + "run_this: rm -rf\n")
    with pytest.raises(UserError, match="run_this"):
        deployment.read(tmp_path / "deploy.yaml")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"trust_remote_code": True}, "trust_remote_code=true runs code"),
        ({"family": "function", "allow_code": True, "function": "os:system"}, "allow_code=true runs code"),
        ({"url": "https://api.example/rerank"}, "sends texts to https://api.example"),
        ({"url": "http://127.0.0.1:9", "key_variable": "HOME"}, "sends texts and the key of HOME"),
    ],
)
def test_a_strangers_file_runs_no_code_and_sends_nothing(
    written: Deployment,
    tmp_path: Path,
    change: dict[str, object],
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = yaml.safe_load(written.to_yaml())
    values["steps"][0]["settings"] |= change
    (tmp_path / "deploy.yaml").write_text(yaml.safe_dump(values))
    assert trust.problems(deployment.read(tmp_path / "deploy.yaml"))
    assert serve.main([str(tmp_path / "deploy.yaml"), "--port", "1"]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nowhere"], "there is no such file or folder"),
        ([".", "--port", "65536"], "--port 65536: choose 1 to 65535, or 0 for a free one"),
        ([".", "--host", "0.0.0.0"], "RERANKBENCH_SERVE_KEY=KEY"),
        ([".", "--seconds", "0", "--waiting", "-1"], "--seconds 0.0: give more than 0"),
        ([".", "--max-bytes", "0"], "--max-bytes 0: give more than 0"),
        ([".", "--check", "--clients", "0"], "--clients 0: choose 1 to 256"),
        ([".", "--check", "--url", "ftp://x"], "--url ftp://x: give an address"),
        ([".", "--check", "--key-variable", "NOT_SET"], "--key-variable NOT_SET: this variable is not set"),
        ([".", "--chekc"], "--help shows what there is"),
        ([], "--help shows what there is"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RERANKBENCH_SERVE_KEY", raising=False)
    assert serve.main(words) == 2
    printed = capsys.readouterr().err
    assert why in printed
    assert "Traceback" not in printed


def test_an_arm_that_there_is_not_is_told_with_those_that_there_are(swept: Path) -> None:
    with pytest.raises(UserError, match="--arm minilm@10: the report has no such arm; it has "):
        deployments(swept, ["minilm@10"])


# the numbers that clients see


@given(st.data())
def test_numbers_of_a_course_never_rise_and_make_its_order_again(data: st.DataObject) -> None:
    """However many steps there are, and whatever their scores are."""
    count = data.draw(st.integers(1, 8))
    depths = sorted((data.draw(st.integers(1, 8)) for _ in range(data.draw(st.integers(1, 3)))), reverse=True)
    steps = [{"key": f"{i}", "layer": None, "depth": depth} for i, depth in enumerate(depths)]
    course = Course({"kind": "cascade"}, steps, "q", [str(i) for i in range(count)]).run()
    scores, found = st.floats(-1e6, 1e6, width=32), None
    try:
        asked = next(course)
        while True:
            given_scores = data.draw(
                st.lists(scores, min_size=len(asked.documents), max_size=len(asked.documents))
            )
            asked = course.send(np.array(given_scores, np.float32))
    except StopIteration as end:
        found = end.value
    assert isinstance(found, Ordered)
    assert sorted(found.order.tolist()) == list(range(count))
    falling = found.descending()
    assert np.isfinite(falling).all()
    assert (np.diff(falling) <= 0).all()
    assert (found.relevance()[found.order] == falling).all()
    if len(steps) == 1:
        reached = found.steps > 0
        np.testing.assert_array_equal(found.relevance()[reached], found.values[reached])


def test_of_two_that_start_at_once_on_a_port_one_is_told() -> None:
    """Both may be bound to it as long as neither listens, which is while their models load."""
    one = bound("127.0.0.1", 0)
    port = one.getsockname()[1]
    with one, bound("127.0.0.1", port) as other:
        listen(one)
        with pytest.raises(UserError, match=rf"--port {port}: cannot be served .*another --port"):
            listen(other)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 70])
def test_a_host_that_is_not_this_machine_is_told(host: str) -> None:
    with pytest.raises(UserError, match=r"cannot be served there .*; leave --host out"):
        bound(host, 0)


def test_an_address_of_version_6_may_stand_in_brackets() -> None:
    assert parser().parse_args(["sweep", "--host", "[::1]"]).host == "::1"
