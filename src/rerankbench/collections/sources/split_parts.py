"""Files that are cut into parts, `x-00000-of-00003.parquet`, as the hub cuts them: all of them or none."""

from __future__ import annotations

import re
from pathlib import Path

from rerankbench.basics.errors import UserError

_PART = re.compile(r"(.*-)([0-9]{5})-of-([0-9]{5})(\..*)")


def parts(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or the first part of a parquet file with the rest.

    Raises UserError where some of the parts would be left out.
    """
    cut = _PART.fullmatch(path.name)
    if cut is None or int(cut[3]) < 2:
        return [path]
    every = [path.with_name(f"{cut[1]}{number:05d}-of-{cut[3]}{cut[4]}") for number in range(int(cut[3]))]
    if cut[4].lower() != ".parquet":
        raise UserError(f"{path}: is one of {len(every):,} parts; join them, only parquet is read in parts")
    if path != every[0]:
        raise UserError(f"{path}: is one of {len(every):,} parts; give the first, {every[0].name}")
    if missing := [part.name for part in every if not part.exists()]:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise UserError(f"{path}: of its {len(every):,} parts, {missing[0]}{more} is not there; fetch all")
    return every


def unreadable(path: Path, part: Path, error: Exception) -> str:
    """What to say of a part of `path` that is no parquet."""
    name = "" if part == path else f"{part.name} "
    reason = str(error).splitlines()[0].rstrip(".")
    return f"{name}cannot be read as parquet ({reason}): write it again or fetch it again"
