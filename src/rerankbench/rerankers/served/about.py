"""What a server says of itself: the model that it serves, and all of that by which scores may differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.rerankers.reranker import Origin

NAMES = ("id", "model_id")  # of the model that is served
MOST = "max_client_batch_size"  # documents that a request may hold, as text-embeddings-inference says


@dataclass(frozen=True)
class Served(Origin):
    """A model behind a server: `model` as it is asked for, `most` documents in one request, if known."""

    model: str = ""
    most: int | None = None


def served(answer: Any, place: str, model: str | None, kept: Sequence[str], parameters: int | None) -> Served:
    """The model that a server's answer describes: of a list of models `model`, or the only one.

    kept: keys of the description that are part of the model's identity. Raises UserError where the answer
    describes no model, or another one.
    """
    found = chosen(answer, place, model)
    name = model or name_of(found)
    if not name:
        raise UserError(f"{place}: does not say which model it serves; give reranker.model=NAME")
    facts = {key: found[key] for key in kept if key in found}
    identity = json.dumps({"model": name, **facts}, sort_keys=True, ensure_ascii=False, default=str)
    most = found.get(MOST)
    return Served(identity, label(name), parameters, name, most if isinstance(most, int) else None)


def unasked(model: str, parameters: int | None) -> Served:
    """A model of which its server says nothing."""
    return Served(json.dumps({"model": model}), label(model), parameters, model)


def label(model: str) -> str:
    return visible(model.rstrip("/").rpartition("/")[2] if model.startswith(("/", ".")) else model)[:100]


def chosen(answer: Any, place: str, model: str | None) -> Mapping[str, Any]:
    """The description of one model. Raises UserError."""
    listed = answer.get("data") if isinstance(answer, Mapping) else None
    models = listed if isinstance(listed, list) else [answer]
    if not models or not all(isinstance(one, Mapping) for one in models):
        raise UserError(f"{place}: describes no model; set reranker.about=null to do without it")
    names = [name_of(one) for one in models]
    if model is not None and model not in names and any(names):
        raise UserError(
            f"reranker.model={model}: {place} serves {told(names)}; give one of these, or leave it out"
        )
    if model is None and len(models) > 1:
        raise UserError(f"{place}: serves {told(names)}; choose one with reranker.model=NAME")
    return models[names.index(model)] if model in names else models[0]


def name_of(description: Mapping[str, Any]) -> str:
    return next((str(description[key]) for key in NAMES if description.get(key)), "")


def told(names: Sequence[str]) -> str:
    return visible(", ".join(names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
