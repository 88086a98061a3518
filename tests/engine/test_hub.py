"""The hub's part of model references, against a small stand-in for the hub on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rerankbench.engine.models.hub import reference_problems
from tiny_folder import write_tiny_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import json, sys
from pathlib import Path
from rerankbench.engine.models import hub
from rerankbench.basics.errors import UserError
from rerankbench.engine.models.references import resolve
hub.REACH_SECONDS = 0.5
try:
    weights = resolve(sys.argv[1], sys.argv[2] or None, Path(sys.argv[3]), sys.argv[4] == 'code')
    print(json.dumps({"folder": str(weights.folder), "identity": weights.identity, "label": weights.label}))
except UserError as error:
    print(json.dumps({"problems": error.problems}))
"""


class Hub(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks: a model's commit and file list, then each file."""

    files: dict[str, bytes]
    asked: list[str]
    refusal: tuple[int, str] | None

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.rpartition(f"/resolve/{COMMIT}/")[2]
        if self.refusal:
            self.send(self.refusal[0], b"{}", {"X-Error-Code": self.refusal[1]})
        elif "/tree/" in self.path:  # of the client's version 1
            listed = [{"type": "file", "path": f, "size": len(self.files[f]), "oid": f} for f in self.files]
            self.send(200, json.dumps(listed).encode(), {})
        elif self.path.startswith("/api/models/org/tiny"):
            siblings = [{"rfilename": file} for file in self.files]
            self.send(200, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode(), {})
        elif name in self.files:
            self.send(200, self.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        else:
            self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[type[Hub]]:
    Hub.files = {file.name: file.read_bytes() for file in write_tiny_folder(tmp_path / "tiny").iterdir()}
    Hub.files |= {
        "pytorch_model.bin": b"pickle",
        "modeling_tiny.py": b"code",
        "onnx/model.safetensors": b"export",
    }
    Hub.files |= {"README.md": b"card"}
    Hub.asked, Hub.refusal = [], None
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    Hub.url = f"http://127.0.0.1:{server.server_port}"
    yield Hub
    server.shutdown()
    server.server_close()


class Asker:
    """Resolves a model in a fresh process: the hub's client reads its environment when it is imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, endpoint: str, revision: str = "", model: str = "org/tiny", code: str = "", **more: str
    ) -> dict[str, object]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(self.folder / "hub"), "HF_HUB_DISABLE_XET": "1"}
        kept |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}
        command = [sys.executable, "-c", SCRIPT, model, revision, str(self.folder / "cache"), code]
        done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def ask(tmp_path: Path) -> Asker:
    return Asker(tmp_path)


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_only_safetensors_config_and_tokenizer_are_fetched_and_the_cache_serves_offline(
    hub: type[Hub], ask: Asker
) -> None:
    weights = ask(hub.url)
    folder = Path(str(weights["folder"]))
    assert weights["identity"] == f"hub:org/tiny@{COMMIT}"
    assert weights["label"] == "org/tiny"
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", "vocab.txt"}
    assert not [
        path for path in hub.asked if path.endswith((".bin", ".py", "onnx/model.safetensors", "README.md"))
    ]
    assert ask(closed_port()) == weights
    assert ask(closed_port(), revision=COMMIT) == weights
    assert ask(hub.url, HF_HUB_OFFLINE="1") == weights


def test_a_pinned_commit_in_the_cache_asks_nobody(hub: type[Hub], ask: Asker) -> None:
    weights = ask(hub.url, revision=COMMIT)
    hub.asked.clear()
    assert ask(hub.url, revision=COMMIT) == weights
    assert hub.asked == []


def test_half_a_model_in_the_cache_does_not_count(hub: type[Hub], ask: Asker) -> None:
    folder = Path(str(ask(hub.url)["folder"]))
    (folder / "model.safetensors").unlink()
    (line,) = ask(closed_port())["problems"]
    assert "could not be reached" in line
    assert "folder" in ask(hub.url)


def test_pickle_only_models_are_refused(hub: type[Hub], ask: Asker) -> None:
    del hub.files["model.safetensors"]
    (line,) = ask(hub.url)["problems"]
    assert "org/tiny" in line
    assert "pickle weights are never fetched" in line


def test_an_unreachable_hub_is_one_line_within_seconds(ask: Asker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        started = time.monotonic()
        (line,) = ask(f"http://127.0.0.1:{silent.getsockname()[1]}")["problems"]
        assert time.monotonic() - started < 10
    for word in (
        "org/tiny",
        "could not be reached",
        "reranker.model=/path/to/folder",
        "embedder.model=",
        "HF_ENDPOINT",
    ):
        assert word in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((404, "RepoNotFound"), "no such public model"),
        ((403, "GatedRepo"), "accept its terms"),
        ((404, "RevisionNotFound"), "no revision 'v9'"),
        ((500, "Oops"), "HTTP 500"),
    ],
)
def test_what_the_hub_refuses_is_said(
    hub: type[Hub], ask: Asker, refusal: tuple[int, str], words: str
) -> None:
    hub.refusal = refusal
    (line,) = ask(hub.url, revision="v9")["problems"]
    assert words in line


def test_offline_mode_is_named_when_it_is_the_reason(ask: Asker) -> None:
    (line,) = ask(closed_port(), HF_HUB_OFFLINE="1")["problems"]
    assert "HF_HUB_OFFLINE" in line


@pytest.mark.parametrize(
    "model", ["BAAI/bge-reranker-base", "a/b", "org-1/name_2.5", "sentence-transformers/x"]
)
@pytest.mark.parametrize("revision", [None, "main", "refs/pr/130", COMMIT, "v1.0"])
def test_hub_ids_and_revisions_that_can_be(model: str, revision: str | None) -> None:
    assert reference_problems(model, revision) == []


@pytest.mark.parametrize(
    "model", ["bert", "a/b/c", "a//b", "/b", "a/", "a b/c", "a/b..c", "a/-b", "a--b/c", "ä/b"]
)
def test_malformed_hub_ids(model: str) -> None:
    (problem,) = reference_problems(model, None)
    assert repr(model) in problem


@pytest.mark.parametrize("revision", ["", " ", "a b", "../x", "/x"])
def test_malformed_revisions(revision: str) -> None:
    (problem,) = reference_problems("a/b", revision)
    assert repr(revision) in problem


def test_what_says_how_a_model_is_used_is_fetched_and_code_only_where_it_is_trusted(
    hub: type[Hub], ask: Asker
) -> None:
    told = {"modules.json", "sentence_bert_config.json", "chat_template.jinja", "1_Pooling/config.json"}
    told |= {"2_Dense/config.json", "2_Dense/model.safetensors", "artifact.metadata", "colbert_linear.pt"}
    hub.files |= dict.fromkeys(told, b"[]") | {"3_Other/model.safetensors": b"x", "other.pt": b"x"}
    config = json.loads(hub.files["config.json"])
    config |= {"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}
    hub.files["config.json"] = json.dumps(config).encode()
    plain = ask(hub.url)
    folder = Path(str(plain["folder"]))
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert names == told | {"config.json", "model.safetensors", "vocab.txt"}
    trusted = ask(hub.url, revision=COMMIT, code="code")  # not taken for whole without its code
    assert (Path(str(trusted["folder"])) / "modeling_tiny.py").read_bytes() == b"code"
    assert trusted["identity"] != plain["identity"]
