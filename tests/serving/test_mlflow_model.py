"""The arm as an MLflow model: in the summary run, in the registry, loaded without anything else."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from rerankbench.serving.mlflow_package import requirements
from rerankbench.serving.service import Service
from served_sweep import ask

pandas = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def client(swept: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{swept.parent / 'mlflow.db'}")


def test_the_summary_run_has_a_model_that_scores_as_the_service(
    swept: Path, client: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: whatever asks for an address fails."""
    import mlflow.pyfunc

    [version] = client.search_model_versions("name = 'mine'")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = mlflow.pyfunc.load_model(version.source)
    texts = ["a lion hunts at night", "paris is in france", ""]
    rows = model.predict(
        pandas.DataFrame({"query": ["what hunts?", "capital"], "documents": [texts, texts[:1]]})
    )
    asked = {"model": "base@4", "query": "what hunts?", "texts": texts, "raw_scores": True}
    wanted = ask(service, "/rerank", asked).json()
    assert rows["order"][0] == [entry["index"] for entry in wanted]
    assert [rows["scores"][0][entry["index"]] for entry in wanted] == pytest.approx(
        [entry["score"] for entry in wanted], abs=1e-5
    )
    assert rows["order"][1] == [0]


def refuse(*_: object) -> None:
    raise OSError("the network was asked")


def test_what_it_takes_and_gives_is_written_down(swept: Path, client: Any) -> None:
    from mlflow.models import Model

    [version] = client.search_model_versions("name = 'mine'")
    model = Model.load(version.source.removeprefix("file://"))
    assert [column.name for column in model.signature.inputs.inputs] == ["query", "documents"]
    assert [column.name for column in model.signature.outputs.inputs] == ["order", "scores"]
    assert model.saved_input_example_info
    assert client.get_run(version.run_id).data.tags["kind"] == "report"
    names = {item.path for item in client.list_artifacts(version.run_id)}
    assert {"deploy.yaml", "model", "report.html"} <= names


def test_its_requirements_are_pinned_to_released_versions() -> None:
    assert all("==" in line and "+" not in line for line in requirements())
    assert {line.partition("==")[0] for line in requirements()} >= {"rerankbench", "mlflow", "torch"}
