"""The rows of a parquet file as objects, for tables in which frameworks wrote their records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rerankbench.collections.sources.file_log import FileLog
from rerankbench.collections.sources.shapes.shape import Item
from rerankbench.collections.sources.split_parts import parts, unreadable


def table_items(path: Path, log: FileLog) -> Iterator[tuple[int, Item]]:
    """Yield (row, object) of a parquet file, or of all parts of one; faults are logged."""
    first = 1
    for part in parts(path):
        try:
            file = pq.ParquetFile(part)
            for batch in file.iter_batches(1024, columns=without_vectors(file.schema_arrow)):
                batch.validate(full=True)  # strings in a parquet file need not be UTF-8
                yield from enumerate(batch.to_pylist(), start=first)
                first += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            log.add(None, unreadable(path, part, error))
            return


def without_vectors(schema: pa.Schema) -> list[str]:
    """The columns but those of embeddings, which stand beside texts and take far more room."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    vectors = (
        any(kind(f.type) for kind in kinds) and pa.types.is_floating(f.type.value_type) for f in schema
    )
    return [field.name for field, vector in zip(schema, vectors, strict=True) if not vector]
