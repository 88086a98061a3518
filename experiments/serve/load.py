"""Throughput, p95 and memory of a service on this machine, at several numbers of clients, in a bounded time.

    python experiments/serve/load.py SWEEP --url http://127.0.0.1:8080 [--url http://127.0.0.1:7997 ...]

Each request is a query of the sweep's evaluation with its first candidates. Services are asked by turns: all
at one client, all at four, all at sixteen. `--soak SECONDS` then asks the first one at twice its capacity and
tells what was answered, refused and lost, and how its memory grew (`--pid`).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from rerankbench.report import deployment
from rerankbench.report.arms import runs
from rerankbench.report.arms.arms import contest
from rerankbench.serving.replay import Measured, questions

CLIENTS = (1, 4, 16)


@dataclass
class Tally:
    """What clients saw: seconds of each answer, texts that were scored, requests by what became of them."""

    seconds: list[float] = field(default_factory=list)
    texts: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    def note(self, outcome: str, seconds: float, texts: int) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome == "200":
            self.seconds.append(seconds)
            self.texts += texts

    def row(self, took: float) -> dict[str, Any]:
        times = np.array(self.seconds or [np.nan]) * 1000
        return {
            "requests": len(self.seconds),
            "pairs_per_second": round(self.texts / took, 1),
            "p50_ms": round(float(np.percentile(times, 50))),
            "p95_ms": round(float(np.percentile(times, 95))),
            "outcomes": self.outcomes,
        }


def bodies(place: Path, depth: int, model: str) -> list[dict[str, Any]]:
    """Requests in the shape that Jina, vLLM, Infinity and rerankbench-serve all take."""
    found = deployment.read(place / deployment.FILE)
    done = runs.find([place])
    measured = Measured(found, contest(done, str(found.figures["measure"])), done)
    return [
        {"model": model, "query": q.query, "documents": q.documents, "return_documents": False}
        for q in questions(measured, depth)
    ]


async def ask(http: httpx.AsyncClient, url: str, body: dict[str, Any], tally: Tally) -> float:
    """One request; returns the seconds after which a busy service wants to be asked again."""
    began = time.perf_counter()
    try:
        reply = await http.post(url, json=body)
        outcome = str(reply.status_code)
        wait = float(reply.headers.get("Retry-After", 0)) if outcome == "429" else 0.0
    except httpx.HTTPError as error:
        outcome, wait = type(error).__name__, 0.0
    tally.note(outcome, time.perf_counter() - began, len(body["documents"]))
    return wait


async def load(url: str, asked: list[dict[str, Any]], clients: int, seconds: float) -> dict[str, Any]:
    """So many clients, each asking again as soon as it has its answer."""
    tally, bodies_in_turn = Tally(), itertools.cycle(asked)
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as http:
        await ask(http, url, asked[0], Tally())
        began = time.perf_counter()

        async def one() -> None:
            while time.perf_counter() - began < seconds:
                await ask(http, url, next(bodies_in_turn), tally)

        await asyncio.gather(*(one() for _ in range(clients)))
        return tally.row(time.perf_counter() - began)


async def soak(
    url: str, asked: list[dict[str, Any]], rate: float, seconds: float, pid: int | None
) -> dict[str, Any]:
    """Requests at a fixed rate, whether or not earlier ones are answered."""
    tally, bodies_in_turn = Tally(), itertools.cycle(asked)
    memory: list[float] = []
    async with httpx.AsyncClient(
        timeout=120, limits=httpx.Limits(max_connections=None), trust_env=False
    ) as http:
        began, sent = time.perf_counter(), 0
        waiting: set[asyncio.Task[float]] = set()
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * rate:
                task = asyncio.create_task(ask(http, url, next(bodies_in_turn), tally))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                sent += 1
            if pid and len(memory) <= now // 10:
                memory.append(round(psutil.Process(pid).memory_info().rss / 1e6, 1))
            await asyncio.sleep(0.02)
        if waiting:
            await asyncio.wait(waiting)
        row = tally.row(time.perf_counter() - began)
    lost = sent - sum(count for outcome, count in tally.outcomes.items() if outcome in ("200", "429"))
    return row | {"sent": sent, "lost": lost, "rate": round(rate, 1), "memory_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--model", default="rerank")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="*", default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--pid", type=int)
    words = parser.parse_args()
    asked = bodies(words.sweep, words.depth, words.model)
    pairs = 0.0
    for clients, _, url in itertools.product(words.clients, range(words.rounds), words.url):
        address = f"{url}/v1/rerank" if url == words.url[0] else f"{url}/rerank"
        row = asyncio.run(load(address, asked, clients, words.seconds))
        pairs = max(pairs, row["pairs_per_second"]) if url == words.url[0] else pairs
        print(json.dumps({"url": url, "clients": clients, **row}), flush=True)
    if words.soak:
        rate = 2 * pairs / np.mean([len(body["documents"]) for body in asked])
        row = asyncio.run(soak(f"{words.url[0]}/v1/rerank", asked, float(rate), words.soak, words.pid))
        print(json.dumps({"url": words.url[0], **row}), flush=True)


if __name__ == "__main__":
    main()
