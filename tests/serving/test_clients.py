"""Clients of others, unchanged but for the address: Cohere's and LangChain's, in an environment of theirs.

python -m venv clients && clients/bin/pip install cohere langchain-cohere
RERANKBENCH_CLIENTS=clients/bin/python pytest tests/serving/test_clients.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from test_served_check import listening

from served_sweep import ask, served

PYTHON = os.environ.get("RERANKBENCH_CLIENTS", "")
SCRIPT = Path(__file__).parents[1] / "helpers" / "cohere_client.py"

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="RERANKBENCH_CLIENTS names no Python that has cohere and langchain-cohere"
)


def test_coheres_and_langchains_clients_get_the_order_and_the_scores(swept: Path) -> None:
    body = {"query": "what hunts?", "documents": ["paris is in france", "a lion hunts at night", ""]}
    with served(swept, "base@12") as service, listening(service) as port:
        command = [PYTHON, str(SCRIPT), f"http://127.0.0.1:{port}", "rerank-v3.5"]
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            command, input=json.dumps(body), env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        results = ask(service, "/v2/rerank", body).json()["results"]
    wanted = [[entry["index"], entry["relevance_score"]] for entry in results]
    assert found["cohere"] == wanted
    assert found["langchain"] == [[body["documents"][index], score] for index, score in wanted[:2]]
