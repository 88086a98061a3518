"""Models of the Hugging Face hub: one commit's safetensors, configs and tokenizer, never pickle.

Python files come along only where a model's own code is trusted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.checkpoint import folder_problems
from rerankbench.engine.models.model_files import CODE

logger = logging.getLogger(__name__)

REACH_SECONDS = 5.0
LOCAL_CURE = "give a local folder instead (reranker.model=/path/to/folder or embedder.model=/path/to/folder)"
# What is fetched of a model: of its own level, and of a level below what says how vectors or scores are made.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "vocab.*", "*.tiktoken")
HEADS = ("artifact.metadata", "colbert_linear.pt", "sparse_linear.pt")  # of ColBERTs, of bge-m3
BELOW = (
    "*_Pooling/config.json",
    "*_LogitScore/config.json",
    "*_Dense/config.json",
    "*_Dense/model.safetensors",
)
ONE_NAME = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"
HUB_ID = re.compile(rf"{ONE_NAME}/{ONE_NAME}")
REVISION = re.compile(r"[\w][\w./-]*")


def reference_problems(model: str, revision: str | None) -> list[str]:
    """Why this cannot be a hub id and revision, one line each; asks nobody."""
    problems = []
    if not HUB_ID.fullmatch(model) or ".." in model or "--" in model or len(model) > 96:
        problems.append(f"model {model!r}: no such folder, and not a hub id either; {cure_of_name(model)}")
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        problems.append(
            f"revision {revision!r} of {model}: not a branch, tag or commit; null means the newest"
        )
    return problems


def cure_of_name(model: str) -> str:
    """What to give instead of a name that is no hub id, where it shows what was meant."""
    page = re.match(rf"(?:https?://[\w.-]+/|hf:/*)({HUB_ID.pattern})", model)
    named = re.fullmatch(rf"({HUB_ID.pattern})[@:]([\w./-]+)", model)
    if page:
        return f"give the id alone, {page[1]}"
    if named:
        return f"give the id alone, {named[1]}, and its revision as revision={named[2]}"
    return "give a folder's path, a hub id such as BAAI/bge-reranker-base, or wheel:<name>"


@dataclass(frozen=True)
class Form:
    """What is fetched of a model, out of all names that it has, and what is wrong with a folder of it."""

    wanted: Callable[[Sequence[str]], list[str]]
    problems: Callable[[Path], list[str]]


def safetensors(code: bool) -> Form:
    """Weights as safetensors; code: with the model's own Python files."""
    return Form(lambda names: wanted(names, code), lambda folder: folder_problems(folder, code))


def snapshot(model: str, revision: str | None, form: Form) -> tuple[Path, str]:
    """(folder, commit) of a hub model: the newest commit of `revision` when the hub answers, else the
    cached one.

    form: which files are wanted. A full commit that is already cached is used without asking. Raises
    UserError, within seconds, when the model is neither reachable nor cached, or lacks what is wanted.
    """
    if revision and re.fullmatch("[0-9a-f]{40}", revision) and (folder := cached(model, revision, form)):
        return folder, folder.name
    try:
        folder = download(model, revision, form)
    except errors_of_the_client() as error:
        kept = cached(model, revision, form)
        if not kept:
            raise failure(model, revision, error) from None
        logger.info("%s: hub not reached, using the cached commit %s", model, kept.name)
        return kept, kept.name
    if problems := form.problems(folder):
        raise UserError(
            [f"model {model}, from the hub: {problem}; {cure_for(problem)}" for problem in problems]
        )
    return folder, folder.name


def errors_of_the_client() -> tuple[type[Exception], ...]:
    """What the hub's client raises. Connections of its version 1 raise errors of httpx, no OSError."""
    import httpx

    return OSError, httpx.HTTPError


def cure_for(problem: str) -> str:
    if "no weights" not in problem:
        return LOCAL_CURE
    return f"pickle weights are never fetched: set a revision that has safetensors, or {LOCAL_CURE}"


def download(model: str, revision: str | None, form: Form) -> Path:
    """The snapshot's folder in the hub's own cache, complete. Raises `errors_of_the_client`."""
    from huggingface_hub import HfApi, snapshot_download

    # snapshot_download's own first question has no time limit; this one finds out whether anybody answers
    found = HfApi().model_info(model, revision=revision, timeout=REACH_SECONDS)
    listed = [file.rfilename for file in found.siblings or []]
    wanted = form.wanted(listed)
    return Path(
        snapshot_download(model, revision=revision, allow_patterns=wanted, etag_timeout=REACH_SECONDS)
    )


def wanted(names: Sequence[str], code: bool) -> list[str]:
    """The files to fetch, out of all that a model has. Patterns would match across slashes."""
    patterns = (*FILES, *HEADS, CODE) if code else (*FILES, *HEADS)
    own = [name for name in names if "/" not in name and any(fnmatch(name, one) for one in patterns)]
    return own + [name for name in names if name.count("/") == 1 and any(fnmatch(name, one) for one in BELOW)]


def cached(model: str, revision: str | None, form: Form) -> Path | None:
    """The folder in the hub's cache, if a whole model is there. An interrupted download does not count."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except OSError as error:
        # version 1 of the client says so of every folder that lacks a file which the hub has
        incomplete = getattr(error, "snapshot_path", None)
        if incomplete is None:
            return None
        folder = Path(incomplete)
    return None if form.problems(folder) else folder


def failure(model: str, revision: str | None, error: Exception) -> UserError:
    """One line for whatever the hub's client raised."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"model {model}: accept its terms on the hub and log in (hf auth login), or {LOCAL_CURE}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"model {model}: the hub has no revision {revision!r}; set one that exists or null")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"model {model}: the hub has no such public model; check the spelling, "
            f"log in if it is private (hf auth login), or {LOCAL_CURE}"
        )
    if constants.HF_HUB_OFFLINE:
        return UserError(
            f"model {model}: not in the hub's cache, and HF_HUB_OFFLINE is set; unset it, or {LOCAL_CURE}"
        )
    if getattr(error, "errno", None):
        return UserError(
            f"model {model}: cannot be kept in the hub's cache {constants.HF_HUB_CACHE} ({error}); "
            "set HF_HUB_CACHE to a folder with room"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = type(error).__name__ if status is None else f"HTTP {status}"
    return UserError(
        f"model {model}: not in the hub's cache, and the hub ({constants.ENDPOINT}) could not be reached; "
        f"{LOCAL_CURE}, or set HF_ENDPOINT to a mirror [{reason}]"
    )
