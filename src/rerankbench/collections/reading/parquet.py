"""Rows of parquet files, which may be cut into parts, `x-00000-of-00003.parquet`, as the hub cuts them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rerankbench.basics.errors import UserError
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.lines import no_parquet
from rerankbench.collections.reading.shapes.shape import Item

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


def batches(
    path: Path, log: FileLog, columns: Callable[[pa.Schema], list[str] | None]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (number of its first row, batch) of a file with all its parts; faults are logged.

    columns: which of a part's columns are read; None where it is not read at all.
    """
    first = 1
    for part in parts(path):
        try:
            file = pq.ParquetFile(part, memory_map=True)
            wanted = columns(file.schema_arrow)
            for batch in () if wanted is None else file.iter_batches(4096, columns=wanted):
                batch.validate(full=True)  # strings in a parquet file need not be UTF-8
                yield first, batch
                first += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            name = "" if part == path else f"{part.name} "
            reason = str(error).splitlines()[0].rstrip(".")
            unreadable = f"cannot be read as parquet ({reason}): write it again or fetch it again"
            kind = no_parquet(part)
            log.add(None, f"{name}is {kind}" if kind else name + unreadable)
            return


def table_items(path: Path, log: FileLog) -> Iterator[tuple[int, Item]]:
    """Yield (row, object), for tables in which frameworks wrote their records; faults are logged."""
    for first, batch in batches(path, log, without_vectors):
        yield from enumerate(batch.to_pylist(), start=first)


def without_vectors(schema: pa.Schema) -> list[str]:
    """The columns but those of embeddings, which stand beside texts and take far more room."""
    return [field.name for field in schema if not _holds_vectors(field.type)]


def _holds_vectors(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_list(kind) for is_list in lists) and pa.types.is_floating(kind.value_type)
