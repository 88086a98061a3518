"""Datasets of the Hugging Face hub, or of local folders of the same layout, through `datasets`."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.basics.errors import UserError
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Layout, Row
from rerankbench.collections.reading.rows import table_rows

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

REACH_SECONDS = 5.0
_NAME = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_HUB_ID = re.compile(rf"(?:{_NAME}/)?{_NAME}")
_FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".ndjson", ".json", ".csv", ".tsv")
_CURE = "give a local folder of the same layout (dataset.path=/path/to/folder), or dataset=sample"


def is_local(path: str) -> bool:
    """Whether a dataset path means a folder on this machine: it exists, or cannot be a hub id."""
    return Path(path).expanduser().exists() or not _HUB_ID.fullmatch(path)


def path_problems(path: str) -> list[str]:
    """Why a path is neither an existing folder nor a possible hub id; empty if it may be either."""
    local = Path(path).expanduser()
    if not is_local(path) or local.is_dir():
        return []
    there = local.exists()
    what = "is a file, not a folder" if there else "there is no such folder, and no hub id looks like it"
    return [f"dataset.path={path}: {what}; give a folder or an id such as mteb/scifact"]


def local_split(folder: Path, split: str, places: tuple[str, ...] = ("", "data")) -> Path | None:
    """`<split>.jsonl`, `data/<split>-00000-of-00003.parquet` (which stands for all three), ...; None if none.

    places: the subfolders that are looked into, in this order; a folder named like the split is one of them.
    A split whose name would lead out of the folder is not found.
    """
    if Path(split).name != split:
        return None
    for place in (*places, split):
        inside = folder / place
        for name in _FORMATS:
            first = sorted(inside.glob(f"{glob.escape(split)}-00000-of-*{name}"))
            for path in [inside / f"{split}{name}", *first]:
                if path.is_file():
                    return path
    return None


def others(folder: Path, splits: tuple[str, ...]) -> list[Path]:
    """The data files of a folder that belong to none of these splits: not `<split>.jsonl`, `<split>/...`."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.name.endswith(_FORMATS))
    return [path for path in files if path.parts[0].partition(".")[0].partition("-00000")[0] not in splits]


def load_split(path: str, config: str | None, split: str, revision: str | None, cache_dir: Path) -> Dataset:
    """One split of a dataset: of a folder, else of the hub, else (nobody answers) of the hub's local cache.

    Raises UserError, within seconds, when there is none.
    """
    import datasets

    local = is_local(path)
    place = str(Path(path).expanduser()) if local else path
    kept = str(cache_dir / "datasets") if local else None  # other tools share what comes from the hub
    offline = None if local else _unreachable(path, revision)
    try:
        if local and _saved_to_disk(Path(place)):
            saved = datasets.load_from_disk(place)
            return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        with _offline() if offline else nullcontext():
            return datasets.load_dataset(place, config, split=split, revision=revision, cache_dir=kept)
    except (OSError, ValueError, RuntimeError, KeyError, datasets.exceptions.DatasetsError) as error:
        if offline is not None:
            raise UserError(_unreachable_line(path, offline)) from error
        raise UserError(_failure_line(path, config, split, error)) from error


def _saved_to_disk(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def dataset_rows(table: Dataset, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """The numbered rows of a dataset by role; a role without a column is a fault."""
    for problem in layout.missing(table.column_names):
        log.add(None, problem)
    if not log.count:
        columns = list(layout.find(table.column_names).values())
        parts = table.select_columns(columns).with_format("arrow").iter(1000)
        yield from enumerate((row for part in parts for row in table_rows(part, layout)), start=1)


def config_names(path: str, revision: str | None) -> list[str]:
    """The configs of a dataset; empty when they cannot be told, and loading will then say why."""
    import datasets

    return _names(datasets.get_dataset_config_names, path, revision)


def split_names(path: str, config: str | None, revision: str | None) -> list[str]:
    """The splits of a config; empty when they cannot be told, and loading will then say why."""
    import datasets

    return _names(partial(datasets.get_dataset_split_names, config_name=config), path, revision)


def _names(ask: Callable[..., list[str]], path: str, revision: str | None) -> list[str]:
    from datasets.exceptions import DatasetsError

    if not is_local(path) and _unreachable(path, revision):
        return []
    try:
        return list(ask(path, revision=revision))
    except (OSError, ValueError, RuntimeError, DatasetsError):
        return []


def _unreachable(path: str, revision: str | None) -> str | None:
    """Why the hub does not answer; None if it does, whatever it says about the dataset.

    load_dataset retries for 23 seconds before it says so; this one question has a time limit.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(path, revision=revision, timeout=REACH_SECONDS)
    except HfHubHTTPError:
        return None
    except (OSError, httpx.HTTPError) as error:  # of the client's version 0, and of 1
        return type(error).__name__
    return None


@contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` and the hub's client use only what they have kept, without asking first."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _unreachable_line(path: str, reason: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return f"dataset.path={path}: not in the hub's cache, and HF_HUB_OFFLINE is set; unset it, or {_CURE}"
    hub = f"and the hub ({constants.ENDPOINT}) could not be reached [{reason}]"
    return f"dataset.path={path}: not in the hub's cache, {hub}; {_CURE}, or set HF_ENDPOINT to a mirror"


def _failure_line(path: str, config: str | None, split: str, error: Exception) -> str:
    what = f"config {config}, split {split}" if config else f"split {split}"
    reason = " ".join(str(error).split())[:300]
    return f"dataset.path={path}: {what} could not be loaded ({reason}); check dataset.path and dataset.split"
