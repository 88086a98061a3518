"""Is it what was measured? Against a service on a real socket, and servers that are something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listening import listening
from rerank_server import rerank_server, texts_of
from rerankbench.commands import serve
from rerankbench.rerankers.served import connection
from rerankbench.serving.comparison import inversions
from rerankbench.serving.server import bound
from served_sweep import served


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.01)


@pytest.fixture(scope="module")
def port(swept: Path) -> Iterator[int]:
    with served(swept, "base@12", "base@4") as service, listening(service) as found:
        yield found


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = serve.main(list(words))
    out, err = capsys.readouterr()
    return code, out + err


def test_the_service_is_what_was_measured(swept: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = printed(capsys, str(swept), "--check", "--arm", "base@12", "--port", str(port))
    assert code == 0, text
    assert "POST /rerank: same order for 8 of 8 queries" in text
    assert "POST /search: same order for 8 of 8 queries" in text
    assert "at 4 clients" in text


@pytest.mark.parametrize("shape", ["jina", "cohere", "tei"])
def test_it_can_be_asked_in_every_shape(
    swept: Path, port: int, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--check", "--arm", "base@12", "--url", f"http://127.0.0.1:{port}", "--shape", shape]
    code, text = printed(capsys, str(swept), *words, "--clients", "1")
    assert code == 0, text
    assert "same order for 8 of 8 queries" in text
    assert "/search" not in text


@pytest.mark.parametrize("shape", ["jina", "cohere", "tei"])
def test_another_model_drifts_query_by_query(
    swept: Path, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with rerank_server() as other:
        words = ["--check", "--arm", "base@12", "--url", other.url, "--shape", shape]
        code, text = printed(capsys, str(swept), *words)
        most = max(len(texts_of(body)) for _, _, body in other.asked)
    assert code == 1, text
    assert most == (other.info["max_client_batch_size"] if shape == "tei" else 12)
    drifted = [line for line in text.splitlines() if "DRIFT" in line]
    same = int(text.split("same order for ")[1].split(" of 8")[0])
    assert len(drifted) == 8 - same > 0
    assert all("rank" in line and "was d" in line for line in drifted)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/jina/v1/rerank"])
def test_a_whole_address_is_asked_where_it_leads(
    swept: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of Infinity, vLLM, Cohere and Jina, whose stand-in all score alike."""
    with rerank_server() as other:
        words = [str(swept), "--check", "--arm", "base@12", "--model", "theirs", "--url", other.url + path]
        code, text = printed(capsys, *words)
        assert {(asked, body["model"]) for asked, _, body in other.asked} == {(path, "theirs")}
    assert code == 1
    assert f"{other.url}{path}: same order for " in text


@pytest.mark.parametrize(
    ("path", "said"), [("/nowhere", "--url http://HOST:PORT/PATH"), ("/v1/rerank", "--key-variable NAME")]
)
def test_what_to_do_about_a_refusal_is_told(
    swept: Path, path: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with rerank_server() as other:
        other.key = None if path == "/nowhere" else "theirs"
        code, text = printed(capsys, str(swept), "--check", "--arm", "base@12", "--url", other.url + path)
    assert code == 2
    assert said in text


@pytest.mark.parametrize("trouble", ["500", "half JSON", "short", "twice", "nan", "200 page", "redirect"])
def test_what_is_no_answer_is_told_in_a_line(
    swept: Path, trouble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with rerank_server() as other:
        other.troubles.extend([trouble] * 20)
        code, text = printed(capsys, str(swept), "--check", "--arm", "base@12", "--url", other.url)
    assert code == 2
    assert text.startswith(f"error: {other.url}/v1/rerank: ")
    assert len(text.splitlines()) == 1


def test_a_busy_service_is_asked_again(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rerank_server() as other:
        other.troubles.append("429")
        code, _ = printed(capsys, str(swept), "--check", "--arm", "base@12", "--url", other.url)
    assert code == 1


def test_nobody_there_is_told(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    socket = bound("127.0.0.1", 0)
    free = socket.getsockname()[1]
    socket.close()
    code, text = printed(capsys, str(swept), "--check", "--arm", "base@12", "--port", str(free))
    assert code == 2
    assert "is it running there" in text


def test_our_own_key_is_not_sent_elsewhere(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RERANKBENCH_SERVE_KEY", "s3cret")
    monkeypatch.setenv("OTHER", "theirs")
    with rerank_server() as other:
        printed(capsys, str(swept), "--check", "--arm", "base@12", "--url", other.url)
        assert "authorization" not in {name.lower() for _, headers, _ in other.asked for name in headers}
        other.key = "theirs"
        words = ["--check", "--arm", "base@12", "--url", other.url, "--key-variable", "OTHER"]
        assert printed(capsys, str(swept), *words)[0] == 1


def test_an_inversion_is_the_most_that_a_better_one_stands_below() -> None:
    scores = np.array([3.0, 2.0, 1.0, 0.0])
    assert inversions(scores, [0, 1, 2, 3], 4) == 0
    assert inversions(scores, [0, 2, 1, 3], 4) == 1
    assert inversions(scores, [3, 2, 1, 0], 4) == 3
    assert inversions(scores, [1, 0, 3], 2) == 1


def test_swaps_of_practically_equal_scores_are_no_drift(
    swept: Path, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another batch size may cause; here the answer's first two are swapped."""
    from rerankbench.serving import client, comparison

    asked = client.Client.rerank

    def swapped(self: Any, *given: Any) -> client.Answer:
        found = asked(self, *given)
        return replace(found, order=[found.order[1], found.order[0], *found.order[2:]])

    monkeypatch.setattr(client.Client, "rerank", swapped)
    words = [str(swept), "--check", "--arm", "base@12", "--url", f"http://127.0.0.1:{port}"]
    assert printed(capsys, *words)[0] == 1
    monkeypatch.setattr(comparison, "NOISE", {"fp32": 100.0})
    code, text = printed(capsys, *words)
    assert code == 0
    assert "same order for 0 of 8" in text
    assert "practically equal" in text
