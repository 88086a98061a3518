"""The loaded models of all served arms, each once, and scores of many requests together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from omegaconf import OmegaConf

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import UserError
from rerankbench.engine.loop import Loop
from rerankbench.experiment import config
from rerankbench.experiment.settings import Experiment
from rerankbench.report.arrangements.course import Asked
from rerankbench.report.deployment import Deployment, Step
from rerankbench.report.race.contestant import Reranking
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.direct import score_queries
from rerankbench.rerankers.scoring.text_scoring import score_directly


class Models:
    """Rerankers by the hash of what they compute. One thread at a time may ask for scores."""

    def __init__(self) -> None:
        self.loaded: dict[str, Reranking] = {}

    def load(self, deployment: Deployment, step: Step) -> None:
        """Raises UserError where what is found here would not compute what was measured."""
        if step.hash in self.loaded:
            return
        try:
            self.loaded[step.hash] = Reranking(experiment_of(deployment, step), step.hash)
        except UserError as error:
            raise UserError([f"{step.reranker}: {line}" for line in error.problems]) from None

    def scores(self, asked: Sequence[Asked]) -> list[Floats]:
        """Floats [documents] for each of `asked`, which are of one reranker and one layer."""
        step = asked[0].step
        model, layer = self.loaded[step["key"]], step["layer"]
        pairs = [(one.query, one.documents) for one in asked]
        scores = by_texts if isinstance(model.model, Scorer) else by_tokens
        return scores(model, pairs, layer)

    def close(self) -> None:
        """Let go of what they hold."""
        for found in self.loaded.values():
            if isinstance(found.model, Scorer):
                found.model.close()


def experiment_of(deployment: Deployment, step: Step | None = None) -> Experiment:
    """A deployment's settings as an experiment. Raises UserError with every problem in them."""
    return config.read(OmegaConf.create(deployment.config(step)))


def by_tokens(
    found: Reranking, pairs: Sequence[tuple[str, Sequence[str]]], layer: int | None
) -> list[Floats]:
    """Of a model on this machine, no layer above `layer` computed."""
    model, machine = found.model, found.context.hardware
    assert not isinstance(model, Scorer)
    loop = Loop(model.forward, machine, found.context.budget(model.enough), streams=machine.streams)
    model.layers = found.layers if layer is None else (layer,)
    try:
        return [np.asarray(each[:, -1]) for each in score_queries(model, pairs, loop)]
    finally:
        model.layers = found.layers


def by_texts(found: Reranking, pairs: Sequence[tuple[str, Sequence[str]]], layer: int | None) -> list[Floats]:
    """Of something that takes texts, in batches of its own size."""
    model = found.model
    assert isinstance(model, Scorer)
    queries = [query for query, documents in pairs for _ in documents]
    texts = [text for _, documents in pairs for text in documents]
    place = -1 if layer is None else found.layers.index(layer)
    label = found.experiment.reranker.title or found.experiment.reranker.family
    scores = score_directly(model, queries, texts, label)[:, place]
    sizes = [len(documents) for _, documents in pairs]
    return list(np.split(scores, np.cumsum(sizes)[:-1]))
