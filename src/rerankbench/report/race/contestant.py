"""What runs in a contestant's process: one model or first stage, loaded alone and asked query by query.

Messages are lines of JSON on stdin, answers lines of JSON on stdout; whatever libraries print goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.engine import hardware
from rerankbench.rerankers.scorer import Scorer

if TYPE_CHECKING:
    from rerankbench.experiment.settings import Experiment

PRODUCT = 1024  # rows and columns of the fixed product: tens of milliseconds of a CPU's core
DEVICE_PRODUCT, DEVICE_TIMES = 4096, 20
TAKES, MOST_TAKES = 3, 25  # of which the median counts
QUICK = 50.0  # ms: what takes no longer is timed again, with caches as warm as those of a busy service
WORTH = 25.0  # ms that taking the time of something quick again and again may last


class Contestant(ABC):
    """What answers messages."""

    @abstractmethod
    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what the message asks. Raises UserError where it cannot be done."""

    def memory(self) -> dict[str, float | None]:
        """Peaks of this process in MB."""
        return {}


class Loaded(Contestant):
    """A contestant on an experiment's machine."""

    def __init__(self, experiment: Experiment, key: str) -> None:
        from rerankbench.experiment.pipeline import make_context

        self.experiment = experiment
        self.context = make_context(experiment)
        started = time.perf_counter()
        self.load(key)
        self.context.hardware.synchronize()
        self.load_seconds = time.perf_counter() - started

    @classmethod
    def asked(cls, message: dict[str, Any]) -> Self:
        """By the config of a run and the content hash of what is wanted of it."""
        return cls(settings(Path(message["config"])), message["key"])

    @abstractmethod
    def load(self, key: str) -> None:
        """Get ready. Raises UserError where this is not what `key` names, or it cannot be loaded."""

    def memory(self) -> dict[str, float | None]:
        return hardware.peak_memory_mb(self.context.hardware)

    def greeting(self) -> dict[str, Any]:
        return {"load_seconds": self.load_seconds, "environment": hardware.environment(self.context.hardware)}


class Searching(Loaded):
    """A first stage: one query's text in, its candidates found."""

    def load(self, key: str) -> None:
        from rerankbench.experiment import pipeline as experiment

        collection, stage = experiment.load(self.experiment), self.experiment.first_stage
        candidates = self.experiment.candidates
        if stage.key(collection, candidates, self.context) != key:
            raise UserError("the collection or the first stage's models have changed since the run was made")
        if problem := stage.lacking(collection, self.context):
            raise UserError(problem)
        self.collection = collection
        more = int(collection.drop_same_id)  # one deeper, in place of the document that is left out
        self.search = stage.searcher(collection, candidates + more, self.context)
        if self.search is None:
            raise UserError("what finding its candidates costs is not known here")

    def candidates(self, query: str, query_id: str) -> tuple[list[str], list[str], NDArray[np.float32]]:
        """Ids, texts and scores of what is found for a query, best first."""
        corpus = self.collection.corpus
        assert self.search is not None
        rows, scores = (np.atleast_2d(each)[0] for each in self.search(query)[:2])
        kept = rows >= 0
        if self.collection.drop_same_id:
            kept &= rows != corpus.rows([query_id])[0]
        kept &= np.cumsum(kept) <= self.experiment.candidates
        return corpus.ids(rows[kept]), corpus.texts(rows[kept]), scores[kept]

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        from rerankbench.experiment.latency import timed

        search, query = self.search, message["query"]
        assert search is not None
        first = timed(lambda: search(query), self.context)
        if first > QUICK:
            return {"ms": first}
        takes = range(min(MOST_TAKES, max(TAKES, int(WORTH / first))))
        return {"ms": float(np.median([timed(lambda: search(query), self.context) for _ in takes]))}


class Reranking(Loaded):
    """A reranker: texts in, scores computed, at any depth and layer, or many pairs as in a batch job."""

    def load(self, key: str) -> None:
        from rerankbench.rerankers.scoring.pair_scoring import score_store

        reranker, origin = self.experiment.reranker.resolved(self.experiment.cache_dir)
        machine = self.context.hardware
        if score_store(reranker, origin, self.context).folder.name != key:
            raise UserError(
                f"here, in {machine.precision} on {machine.device}, it is computed differently than in its "
                "run, or its weights have changed: use what was measured, or run the sweep again"
            )
        self.model = reranker.deployed(origin, self.context)
        self.layers = self.model.layers

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["do"] == "bulk":
            return self.bulk(message["pairs"])
        query, documents = message["query"], message["documents"]
        self.expect(documents)
        return {"ms": [self.rerank(query, documents[:depth], layer) for layer, depth in message["asked"]]}

    def expect(self, documents: Sequence[str]) -> None:
        """What a service has done for its documents before any query comes: not timed."""
        if isinstance(self.model, Scorer):
            self.model.expect(documents)

    def rerank(self, query: str, documents: Sequence[str], layer: int | None) -> float:
        """Milliseconds from texts to scores, computing no layer above `layer`."""
        from rerankbench.experiment.latency import timed

        return timed(lambda: self.scores(query, documents, layer), self.context)

    def scores(self, query: str, documents: Sequence[str], layer: int | None) -> NDArray[np.float32]:
        """Scores [documents] of one query's documents, computing no layer above `layer`."""
        from rerankbench.experiment.latency import rerank

        if not isinstance(self.model, Scorer):  # which computes all of its layers
            self.model.layers = self.layers if layer is None else (layer,)
        try:
            found = rerank(self.model, query, documents, self.context)
        finally:
            self.model.layers = self.layers
        every = isinstance(self.model, Scorer) and layer is not None
        return np.asarray(found[:, self.layers.index(layer) if every else -1])

    def bulk(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Score pairs as a run does, which never waits for one query's."""
        from rerankbench.engine.loop import Loop
        from rerankbench.rerankers.scoring.pair_window import PairWindow
        from rerankbench.rerankers.scoring.text_scoring import checked

        model, machine = self.model, self.context.hardware
        self.expect([text for _, text in pairs])

        def score() -> None:
            if isinstance(model, Scorer):
                for start in range(0, len(pairs), model.batch):
                    asked, texts = zip(*pairs[start : start + model.batch], strict=True)
                    checked(model, asked, texts, "reranker")
                return
            queries = model.tokenize_queries([query for query, _ in pairs])
            window = PairWindow.of(model, queries, model.tokenize_documents([text for _, text in pairs]))
            loop = Loop(model.forward, machine, self.context.budget(model.enough), streams=machine.streams)
            for _ in loop.run(window):
                pass

        from rerankbench.experiment.latency import timed

        return {"pairs": len(pairs), "seconds": timed(score, self.context) / 1000}


class Product(Contestant):
    """The yardstick: the same product of two matrices each time, on the CPU and on a device that is raced."""

    def __init__(self, message: dict[str, Any]) -> None:
        import torch

        if message["threads"]:
            torch.set_num_threads(message["threads"])
        self.devices = [hardware.Hardware(device, "fp32") for device in message["devices"]]
        self.matrices = [torch.ones(self.size(h), self.size(h), device=h.device) for h in self.devices]

    @staticmethod
    def size(machine: Any) -> int:
        return PRODUCT if machine.device == "cpu" else DEVICE_PRODUCT

    def greeting(self) -> dict[str, Any]:
        return {"environment": hardware.environment(self.devices[-1])}

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "ms": [float(np.median([self.take(i) for _ in range(TAKES)])) for i in range(len(self.devices))]
        }

    def take(self, i: int) -> float:
        import torch

        machine, matrix = self.devices[i], self.matrices[i]
        machine.synchronize()
        started = time.perf_counter()
        for _ in range(1 if machine.device == "cpu" else DEVICE_TIMES):
            torch.mm(matrix, matrix)
        machine.synchronize()
        return (time.perf_counter() - started) * 1000


Maker = Callable[[dict[str, Any]], Any]  # of the first message: a contestant that greets and answers
KINDS: Mapping[str, Maker] = {
    "first_stage": Searching.asked,
    "reranker": Reranking.asked,
    "product": Product,
}


def settings(file: Path) -> Any:
    """The experiment of a run's own config. It computes in this process, whatever ran it then."""
    from omegaconf import OmegaConf

    from rerankbench.engine.executors.local import Local
    from rerankbench.experiment import config

    found = config.read(OmegaConf.load(file))  # type: ignore[arg-type]
    return replace(found, executor=Local(), reuse=True)


def serve(messages: queue.SimpleQueue[str], answers: IO[str], kinds: Mapping[str, Maker]) -> None:
    """Load what the first message asks for, then answer the others."""

    def say(answer: dict[str, Any], memory: dict[str, float | None]) -> None:
        answers.write(json.dumps(answer | {"memory": memory}) + "\n")
        answers.flush()

    contestant: Any = None
    while True:
        message = json.loads(messages.get())
        try:
            if contestant is None:
                contestant = kinds[message["kind"]](message)
                answer = contestant.greeting()
                gc.collect()
                gc.freeze()  # what is loaded stays; looking through it again would be timed
            else:
                answer = contestant.answer(message)
        except UserError as error:
            answer = {"why": "; ".join(error.problems)}
        except Exception as error:
            answer = {"why": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        say(answer, contestant.memory() if contestant else {})


def listen(messages: queue.SimpleQueue[str]) -> None:
    """Hand messages on; where there are no more, the race is over or was killed: end at once."""
    for line in sys.stdin:
        messages.put(line)
    os._exit(0)


def first_to_go() -> None:
    """Where memory runs out, the system is to end this process and not the one that waits for it."""
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(kinds: Mapping[str, Maker] = KINDS) -> None:
    from rerankbench.basics.quiet_libraries import quiet_libraries

    first_to_go()
    quiet_libraries()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed from here on is no answer
    messages: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(messages,), daemon=True).start()
    serve(messages, answers, kinds)


if __name__ == "__main__":
    main()
