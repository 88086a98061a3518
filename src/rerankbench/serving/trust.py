"""What a deploy.yaml may have done without being told that it is trusted: it may be a stranger's."""

from __future__ import annotations

from typing import Any

from rerankbench.basics.masking import masked
from rerankbench.report.deployment import Deployment
from rerankbench.rerankers.served.address import stays_here

CODE = ("trust_remote_code", "allow_code")


def problems(deployment: Deployment) -> list[str]:
    """Code that it would run, and servers that it would send texts or keys to, one line each."""
    stage = deployment.first_stage
    parts = {step.reranker: step.settings for step in deployment.steps}
    parts |= {"embedder": stage.embedder, "first_stage": stage.first_stage, "dataset": stage.dataset}
    return [line for name, settings in parts.items() for line in problems_of(name, settings)]


def problems_of(name: str, settings: dict[str, Any]) -> list[str]:
    found = [
        f"{name}: {key}=true runs code that comes with the model; add --trust if the file is yours"
        for key in CODE
        if settings.get(key)
    ]
    url, key = settings.get("url"), settings.get("key_variable")
    if isinstance(url, str) and (key or not stays_here(url)):
        sent = "texts and the key of " + str(key) if key else "texts"
        found.append(masked(f"{name}: sends {sent} to {url}; add --trust if the file is yours"))
    return found
