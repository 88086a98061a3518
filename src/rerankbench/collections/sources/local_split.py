"""The file of a folder that holds one split, by the names that datasets on the hub use."""

from __future__ import annotations

import glob
from pathlib import Path

_FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".ndjson", ".json", ".csv", ".tsv")


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
