"""Clients of others, unchanged but for the address, in an environment of theirs.

python -m venv clients && clients/bin/pip install cohere langchain-cohere langchain-community \
    infinity-client llama-index-postprocessor-cohere-rerank llama-index-postprocessor-jinaai-rerank \
    llama-index-postprocessor-tei-rerank cohere-haystack jina-haystack huggingface-api-haystack
RERANKBENCH_CLIENTS=clients/bin/python pytest tests/serving/test_clients.py
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listening import listening
from served_sweep import ask, served

PYTHON = os.environ.get("RERANKBENCH_CLIENTS", "")
SCRIPT = Path(__file__).parents[1] / "helpers" / "rerank_clients.py"
BODY = {"query": "what hunts?", "documents": ["paris is in france", "a lion hunts at night", ""]}
SQUEEZED = ("llama_index_tei",)  # which asks for no raw scores

pytestmark = pytest.mark.skipif(not PYTHON, reason="RERANKBENCH_CLIENTS names no Python that has clients")


@pytest.fixture(scope="module")
def answers(swept: Path) -> Iterator[tuple[dict[str, Any], list[tuple[str, float]]]]:
    """What every client found, and what there is to be found: texts and their scores, best first."""
    with served(swept, "base@12") as service, listening(service) as port:
        command = [PYTHON, str(SCRIPT), f"http://127.0.0.1:{port}", "rerank-v3.5"]
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            command, input=json.dumps(BODY), env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        results = ask(service, "/v2/rerank", BODY).json()["results"]
        wanted = [(BODY["documents"][each["index"]], each["relevance_score"]) for each in results]
        yield json.loads(done.stdout), wanted


@pytest.mark.parametrize(
    "client",
    [
        "cohere", "langchain_cohere", "langchain_jina", "langchain_infinity", "llama_index_cohere",
        "llama_index_jina", "llama_index_tei", "haystack_cohere", "haystack_jina", "haystack_tei",
    ],
)  # fmt: skip
def test_a_client_gets_the_order_and_the_scores(
    answers: tuple[dict[str, Any], list[tuple[str, float]]], client: str
) -> None:
    found, wanted = answers[0][client], answers[1]
    if isinstance(found, str) and found.startswith("not installed"):
        pytest.skip(found)
    assert not isinstance(found, str), found
    most = 3 if client == "cohere" else 2
    assert [text for text, _ in found] == [text for text, _ in wanted[:most]]
    scores = np.array([score for _, score in wanted[:most]])
    expected = 1 / (1 + np.exp(-scores)) if client in SQUEEZED else scores
    np.testing.assert_allclose([score for _, score in found], expected, rtol=1e-6)
