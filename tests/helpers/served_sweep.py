"""A small sweep of tiny models with its report, and its arms as a service that is asked in this process."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import httpx

from commands import own_options, run, tiny
from rerankbench.commands.serve import deployments
from rerankbench.serving import arm as arms
from rerankbench.serving.limits import Limits
from rerankbench.serving.models import Models
from rerankbench.serving.service import Service
from small_collection import command


def sweep(models: Path, root: Path, *more: str) -> Path:
    """Two tiny rerankers over 12 dense candidates of 8 queries; returns the sweep's folder."""
    own = own_options(models, root)
    words = [word for word in command(models, root) if not word.startswith("reranker")]
    words += ["-m", "reranker=base,large", "depth=4,12", "cutoffs=[1,2,10]", "--config-dir", str(own), *more]
    assert run(*words) == 0
    return root / "sweep"


@cache
def small(models: Path) -> Path:
    """One reranker over what BM25 finds of four documents: its sweep with deploy.yaml, made once."""
    root = Path(tempfile.mkdtemp(prefix="small-sweep-"))
    words = ["reranker=base", f"reranker.model={models / 'base'}", "first_stage=bm25", "tracking=none"]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        assert run(*tiny(models, root), *words, "-m", "depth=2") == 0
        [found] = deployments(root / "sweep", ["base@2"])
    (root / "sweep" / "deploy.yaml").write_text(found.to_yaml())
    return root / "sweep"


@contextmanager
def served(place: Path, *names: str, key: str | None = None, **limits: Any) -> Iterator[Service]:
    """Arms of a sweep's report as a service; the one of deploy.yaml where none is named."""
    models = Models()
    loaded = [arms.load(each, models, place) for each in deployments(place, names)]
    service = Service(loaded, models, replace(Limits(), **limits), key)
    try:
        yield service
    finally:
        service.close()


def ask(service: Service, path: str, body: Any = None, **options: Any) -> httpx.Response:
    """One request; a body that is no bytes is sent as JSON."""
    return ask_all(service, [(path, body)], **options)[0]


def ask_all(
    service: Service, asked: Sequence[tuple[str, Any]], host: str = "localhost", **options: Any
) -> list[httpx.Response]:
    """Requests that arrive together."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(service.app(), raise_app_exceptions=False)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await asyncio.gather(*(one(http, path, body) for path, body in asked))

    async def one(http: httpx.AsyncClient, path: str, body: Any) -> httpx.Response:
        if body is None:
            return await http.get(path, **options)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await http.post(path, content=data, **options)

    return asyncio.run(all_of_them())
