"""An arm as an MLflow model: models from code, a signature, an example, pinned requirements."""

from __future__ import annotations

import importlib.metadata as metadata
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerankbench.experiment.tracking.mlflow_store import MLflow, patience
from rerankbench.report import deployment

NAME = "model"  # of the folder in a run
EXAMPLE = {"query": ["What is the capital of France?"], "documents": [["Paris is in France.", "Lions hunt."]]}
PINNED = (
    "rerankbench", "mlflow", "FlagEmbedding", "transformers", "tokenizers", "torch", "faiss-cpu", "numpy",
    "safetensors",
)  # fmt: skip


def save(file: Path, folder: Path) -> None:
    """Package the arm of a deploy.yaml as an MLflow model in a new folder."""
    import pandas
    from mlflow import pyfunc

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings(), not_compared():
        warnings.simplefilter("ignore")  # it asks for types, of which it would make a signature
        pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"deploy": str(file)},
            signature=signature(),
            input_example=pandas.DataFrame(EXAMPLE),
            pip_requirements=requirements(),
            model_config={"trust": False},
        )


@contextmanager
def not_compared() -> Iterator[None]:
    """Keep MLflow from comparing what is pinned with what is installed, of which the pins are made.

    It would read the metadata of all that is installed, for a second.
    """
    from mlflow.utils import environment

    name = "warn_dependency_requirement_mismatches"
    compare = getattr(environment, name, None)  # no part of MLflow's interface
    if compare is None:
        yield
        return
    try:
        setattr(environment, name, lambda requirements: None)
        yield
    finally:
        setattr(environment, name, compare)


def signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    texts = Schema([ColSpec(DataType.string, "query"), ColSpec(Array(DataType.string), "documents")])
    ranks = Schema([ColSpec(Array(DataType.long), "order"), ColSpec(Array(DataType.double), "scores")])
    return ModelSignature(texts, ranks)


def requirements() -> list[str]:
    """What is installed here, without what tells apart builds of one version."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in PINNED]


def lacking(file: Path) -> str:
    """Why the folder of a report has no arm that could be packaged; empty where it has one."""
    if not file.is_file():
        return "nothing is recommended"
    found = deployment.read(file)
    if not found.steps:
        return f"{found.arm} does not rerank"
    return f"{found.arm} uses the first stage's scores" if found.needs_first_stage else ""


def log(tracking: MLflow, run_id: str, folder: Path, register: str | None = None) -> str:
    """The arm of a report's folder into its summary run, and its name into the registry if one is given.

    Returns why there is none, empty where there is one.
    """
    if why := lacking(folder / deployment.FILE):
        return why
    with patience(), tempfile.TemporaryDirectory(prefix="rerankbench-model-") as scratch:
        client = tracking.connect()
        save(folder / deployment.FILE, Path(scratch) / NAME)
        client.log_artifacts(run_id, str(Path(scratch) / NAME), NAME)
        if register:
            enter(client, run_id, register)
    return ""


def enter(client: Any, run_id: str, name: str) -> None:
    """A new version of a registered model."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{NAME}"
    client.create_model_version(name, source, run_id)
