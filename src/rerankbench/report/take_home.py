"""From the verdict to production: how the arm of deploy.yaml is run, here and by other servers."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rerankbench.basics.masking import masked
from rerankbench.basics.visible import visible
from rerankbench.report.deployment import Deployment, Step
from rerankbench.rerankers.encoder import Encoder

# Settings that other servers do not have: an arm that uses one of them cannot be run there.
OWN = ("query_instruction", "passage_instruction", "adapter", "label", "template", "instruction")
PACKAGED = "wheel:"


@dataclass(frozen=True)
class Recipe:
    """A way to run the arm: what it is for, and what is typed."""

    title: str
    code: str


def recipes(deployment: Deployment | None) -> list[Recipe]:
    """How the arm is run, best first; nothing where there is none."""
    if deployment is None:
        return []
    found = [Recipe("As a service, in this report's folder", "rerankbench-serve .")]
    if len(deployment.steps) == 1 and not deployment.needs_first_stage:
        [step] = deployment.steps
        found += [Recipe("In Python", python(step))]
        found += elsewhere(step)
    return found


def python(step: Step) -> str:
    """Six lines that rerank texts."""
    settings = dict(step.settings)
    model, family = settings.pop("model", step.label), settings.pop("family")
    given = {"family": family, "precision": step.precision, **changed(family, settings)}
    words = ", ".join([repr(model), *(f"{key}={value!r}" for key, value in given.items())])
    layer = "" if step.layer is None else f"  # measured at layer {step.layer}"
    lines = [
        "from rerankbench import load_reranker",
        f"reranker = load_reranker({words}){layer}",
        'query, documents = "a question", ["one text", "another"]',
        f"best = reranker.rank(query, documents[:{step.depth}])",
        "for position, score, text in best:",
        "    print(position, score, text)",
    ]
    return "\n".join(masked(visible(line)) for line in lines)


def changed(family: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from their family's defaults, and the length, which decides most."""
    from rerankbench.experiment.groups import GROUPS

    usual = {field.name: field.default for field in fields(GROUPS["reranker"].classes[family])}
    kept = {key: value for key, value in settings.items() if key in usual and value != usual[key]}
    length = {"max_length": settings["max_length"]} if "max_length" in settings else {}
    return {key: value for key, value in (kept | length).items() if key != "parameters_m"}


def elsewhere(step: Step) -> list[Recipe]:
    """Commands of other servers, where they can run the arm; their precision and lengths are their own."""
    settings, model = step.settings, str(step.settings.get("model", ""))
    plain = settings["family"] == Encoder.family and settings.get("long_documents") == "truncate"
    if not plain or any(settings.get(key) for key in OWN) or model.startswith(PACKAGED):
        return []
    local = Path(model).is_absolute()
    name = shlex.quote(visible(model))
    pinned = f" --revision {shlex.quote(visible(settings['revision']))}" if settings.get("revision") else ""
    mounted = f" -v {name}:/model" if local else ""
    place = "/model" if local else name
    tei = "ghcr.io/huggingface/text-embeddings-inference:cpu-1.8"
    length = settings["max_length"]
    servers = {
        "text-embeddings-inference": (
            f"docker run -p 8080:80{mounted} {tei} --model-id {place}{pinned}",
            "8080 --shape tei",
        ),
        "Infinity": (
            f"infinity_emb v2 --model-id {name}{pinned} --port 7997 --url-prefix /v1",
            f"7997 --shape jina --model {name}",
        ),
        "vLLM": (
            f"vllm serve {name}{pinned} --max-model-len {length}",
            f"8000 --shape jina --model {name}",
        ),
    }
    check = "rerankbench-serve . --check --url http://127.0.0.1:"
    return [Recipe(f"By {server}", f"{run}\n{check}{port}") for server, (run, port) in servers.items()]
