"""Served models through the whole command: beside local arms, with their costs, and no key anywhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from commands import results, run, store, tiny
from rerank_server import RerankServer, rerank_server
from rerankbench import api
from rerankbench.basics import masking
from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import config, preflight
from rerankbench.report.arms.arms import contest
from rerankbench.report.arms.runs import find
from rerankbench.report.costs import cost as costing
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.budget import over_budget
from rerankbench.report.costs.race_notes import served_lines
from rerankbench.report.race.contestant import Reranking
from rerankbench.report.race.entrants import entrants
from rerankbench.report.race.race import without_sending
from rerankbench.report.settings import Budget

KEY = "sk-4711-do/not+show"
PLAIN = ["first_stage=bm25", "tracking=none"]


@pytest.fixture(scope="module")
def server() -> Iterator[RerankServer]:
    with rerank_server() as found:
        yield found


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch, server: RerankServer) -> None:
    config.register_schemas()
    monkeypatch.setattr(masking, "_known", {})
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    server.key = None
    server.asked.clear()


class Swept(NamedTuple):
    """A sweep of no reranker, a server and a paid service: its folder, and what it printed."""

    folder: Path
    printed: str

    @property
    def sweep(self) -> Path:
        return self.folder / "sweep"


@pytest.fixture(scope="module")
def swept(models: Path, tmp_path_factory: pytest.TempPathFactory, server: RerankServer) -> Swept:
    folder = tmp_path_factory.mktemp("served")
    words = [f"reranker.url={server.url}", "reranker.max_length=64", "latency=true", "first_stage=bm25"]
    words += ["reranker.documents_per_request=1", *tiny(models, folder), f"tracking.uri={store(folder)}"]
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.setenv("COHERE_API_KEY", KEY)
        server.key = None
        assert run("-m", "reranker=none,tei,cohere", *words) == 0
    return Swept(folder, printed.getvalue())


def test_a_server_stands_beside_local_arms_in_one_sweep(swept: Swept) -> None:
    for key in ("url", "documents_per_request"):
        assert f"reranker.{key} does not apply to reranker=none, which runs without it\n" in swept.printed
    assert (
        "reranker.max_length does not apply to reranker=tei, cohere, which run without it\n" in swept.printed
    )
    found = results(swept.sweep)
    assert {result["status"] for result in found.values()} == {"ok"}
    assert set(found) == {"bm25 without reranking", "bm25 + tei@2", "bm25 + cohere@2"}
    own = {file.parent.parent.name: file.read_text() for file in swept.sweep.glob("*/.hydra/config.yaml")}
    assert ["url: http" in own[number] for number in "012"] == [False, True, True]
    assert ["max_length: 64" in own[number] for number in "012"] == [True, False, False]
    assert "3 of 3 runs done" in swept.printed
    assert "tei@2" in (swept.sweep / "report.md").read_text()


def test_a_paid_service_is_priced_at_each_depth_and_never_only_timed(swept: Swept) -> None:
    (result,) = (one for one in results(swept.sweep).values() if "cohere" in one["arm"])
    assert result["model"]["paid"] is True
    ranks = pq.read_table(swept.sweep / "2" / "scores.parquet")["rank"].to_numpy()
    prices = {
        k: 1000 * 0.002 * (ranks <= int(k)).sum() / result["dataset"]["queries"] for k in result["by_depth"]
    }
    assert result["price_per_1k"] == pytest.approx(prices)
    assert "latency_ms" not in result
    assert "latency=true: asking rerank-v3.5 costs money, so it is not timed" in swept.printed
    (free,) = (one for one in results(swept.sweep).values() if "tei" in one["arm"])
    assert "price_per_1k" not in free
    assert free["latency_ms"]
    arms = json.loads((swept.sweep / "report.json").read_text())["arms"]
    costs = {arm["name"]: arm["cost"] for arm in arms}
    (priced,) = (cost for name, cost in costs.items() if f"cohere@{result['depth']}" in name)
    assert priced["price_per_1k"] == pytest.approx(prices[str(result["depth"])])
    page = (swept.sweep / "report.md").read_text()
    assert "Prices of cohere are what these queries cost" in page


def test_no_key_is_written_anywhere(
    swept: Swept, models: Path, tmp_path: Path, server: RerankServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither where all went well nor in the failure of a server whose error repeats the key."""
    server.key = "another"
    words = [f"reranker.url={server.url}", "reranker.model=m2", *PLAIN, *tiny(models, tmp_path)]
    assert run("reranker=cohere", *words) == 2
    printed = "".join(capsys.readouterr())
    assert "answered 401: the key Bearer *** is not known; is the key in COHERE_API_KEY the right" in printed
    assert KEY not in printed + swept.printed
    files = [file for folder in (swept.folder, tmp_path) for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in files)
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


def test_a_server_is_raced_as_it_is_felt_under_a_stated_concurrency(
    swept: Swept, server: RerankServer
) -> None:
    (run_of_tei,) = (found for found in find([swept.sweep]) if found.params["reranker"] == "tei")
    server.troubles.extend(["slow0.03"] * 6)
    server.busiest = 0
    config = str(run_of_tei.folder / ".hydra/config.yaml")
    raced = Reranking.asked({"config": config, "key": run_of_tei.result["identity"]["reranker"]})
    asked = {"do": "rerank", "query": "q", "documents": list("abcd"), "asked": [(None, 4), (None, 1)]}
    deep, shallow = raced.answer(asked)["ms"]
    server.troubles.clear()
    assert deep >= 30 * 4 / 4
    assert shallow >= 30
    assert server.busiest == 4
    (line,) = served_lines(
        [arm for arm in contest(find([swept.sweep]), "ndcg_at_2").arms if "tei" in arm.name]
    )
    assert line.startswith(f"tei is a server, {server.url}: its times include the network, with at")
    assert "at most 4 requests at once, of 1 documents at most; its memory is not known here." in line


def test_a_paid_service_is_raced_only_if_that_is_asked_for(swept: Swept) -> None:
    def why(paid: bool) -> dict[str, str]:
        return {one.label: one.why for one in entrants(find([swept.sweep]), paid) if one.kind == "reranker"}

    told = "asking it costs money, so it is raced only with report.race.paid=true"
    assert why(False) == {"tei": "", "cohere": told}
    assert why(True) == {"tei": "", "cohere": ""}


def test_a_budget_says_what_is_not_known_of_a_server(swept: Swept) -> None:
    arms = contest(find([swept.sweep]), "ndcg_at_2").arms
    tei = next(arm for arm in arms if "tei" in arm.name)
    budget = Budget(memory_mb=1e6, price_per_1k=1.0)
    told = over_budget(costing.of(tei, Book(price_per_hour=1.0)), tei, budget, Book(price_per_hour=1.0))
    assert "peak memory was not measured (it is its server's)" in told
    assert "price per 1,000 queries was not measured (set reranker.price_per_request for its run)" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("-m reranker=none,base reranker.uri=http://h", r"reranker\.uri=http://h: there is no such key"),
        ("reranker=none reranker.url=http://h", r"reranker\.url=http://h: .* no such key; .*endpoint would"),
        (
            "-m reranker=none,tei",
            r"reranker\.url is needed: add reranker\.url=VALUE \(in the job reranker=tei",
        ),
        ("-m reranker=none,tei reranker.url=there", r"reranker\.url=there: give an address"),
        ("reranker=tei reranker.url=http://h reranker.api_key=4711", r"api_key=\*\*\*: .*come from the env"),
        ("reranker=cohere reranker.key_variable=4711-x", r"reranker\.key_variable: give the name of an env"),
        ("reranker=cohere reranker.url=http://me:4711@h", r"reranker\.url=.*: holds a user or a password"),
    ],
)
def test_mistakes_are_told_before_anything_and_without_keys(words: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        preflight.check([*words.split(), "first_stage=bm25"])
    assert "4711" not in str(caught.value)


def test_a_strangers_folder_sends_nothing_away_in_a_race(
    swept: Swept, tmp_path: Path, server: RerankServer
) -> None:
    shutil.copytree(swept.sweep, tmp_path / "sweep")
    found = entrants(find([tmp_path / "sweep"]), paid=True)
    told = {one.label: without_sending(one).why for one in found}
    assert f"its config sends a key to {server.url}, which only the sweep's own" in told.pop("cohere")
    assert set(told.values()) == {""}
    kept = tmp_path / "sweep" / "1" / ".hydra" / "config.yaml"
    kept.write_text(kept.read_text().replace(server.url, "http://evil.example"))
    told = {one.label: without_sending(one).why for one in found}
    assert "its config sends texts to http://evil.example, which only the sweep's own" in told["tei"]


@pytest.mark.parametrize(
    ("file", "text", "sends"),
    [
        ("mine", "key_variable: COHERE_API_KEY\nurl: http://evil.example\n", True),
        ("cohere", "key_variable: COHERE_API_KEY\nurl: http://evil.example\n", True),
        ("cohere", "key_variable: COHERE_API_KEY\nurl: https://api.cohere.com\npath: /elsewhere\n", True),
        ("mine", "url: http://tei.example\n", False),
    ],
)
def test_a_config_cannot_send_a_key_to_a_server(file: str, text: str, sends: bool, tmp_path: Path) -> None:
    (tmp_path / "reranker").mkdir()
    body = "defaults: [/schema/reranker/endpoint@_here_, _self_]\nbody: {q: '{query}', d: '{documents}'}\n"
    (tmp_path / "reranker" / f"{file}.yaml").write_text(body + text)
    words = ["--config-dir", str(tmp_path), f"reranker={file}", "first_stage=bm25"]
    if sends:
        with pytest.raises(UserError, match="key_variable=COHERE_API_KEY: a config cannot send a key to a"):
            preflight.check(words)
        words.append("reranker.key_variable=COHERE_API_KEY")  # whoever types it knows
    assert preflight.check(words) is not None


INFINITY = os.environ.get("RERANKBENCH_INFINITY", "")


@pytest.mark.slow
@pytest.mark.skipif(not INFINITY, reason="RERANKBENCH_INFINITY does not name an infinity_emb executable")
def test_infinity_gives_the_scores_of_the_packaged_model(tmp_path: Path) -> None:
    """The real server, from an environment of its own: its logits are ours."""
    ours = api.load_reranker("minilm", device="cpu", precision="fp32")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [INFINITY, "v2", "--model-id", str(ours.origin.folder)]  # type: ignore[union-attr]
    command += ["--device", "cpu", "--engine", "torch", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--no-model-warmup", "--no-bettertransformer"],
            env=os.environ | quiet,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            settings = {"url": f"http://127.0.0.1:{port}", "device": "cpu", "precision": "fp32"}
            for _ in range(120):
                try:
                    served = api.load_reranker("infinity", retries=0, **settings)  # type: ignore[arg-type]
                    break
                except UserError:
                    assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
                    time.sleep(0.5)
            texts = [
                "a red fox",
                "",
                "the sea " * 400,
                "狐狸在海边奔跑",
                "what?\n\tyes",
                "the fox is red and quick",
            ]
            for query in ("what is a fox?", "狐狸"):
                np.testing.assert_allclose(served.score(query, texts), ours.score(query, texts), atol=1e-3)
        finally:
            process.terminate()
