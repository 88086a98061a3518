"""A cache with an entry of every kind, and what a stranger may do to it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from rerankbench.engine.store.rows import RowStore, identity, text_keys, write_array
from strange_runs import KINDS, NASTY, Damage, byte, cut, field, kind, odd, shares

PARTS = {"label": "some-model", "family": "encoder", "precision": "fp32", "max_length": 512}
SCORES = f"scores/{identity(PARTS)}"
NOTED = {
    "corpora": f"corpora/{'4' * 64}",
    "indexes": f"indexes/{'8' * 64}",
    "candidates": f"candidates/{'1' * 64}",
}
NOTES = (
    f"{SCORES}/identity.json", f"{SCORES}/cost-0123456789abcdef.json",
    "models/tiny-0123456789ab/manifest.json",
    *(f"{name}.json" for name in NOTED.values()), "hashes.json",
)  # fmt: skip


def whole_cache(folder: Path) -> Path:
    """An entry of every kind, scores in two shards, and hashes."""
    store = RowStore(folder / SCORES, PARTS)
    for texts in (["a", "bb"], ["ccc"]):
        store.append(text_keys(texts), np.array([[len(text)] for text in texts], np.float32), [0])
    write_array(folder / "candidates", "1" * 64, np.zeros((2, 3)))
    write_array(folder / "vectors" / ("2" * 64), "3" * 64, np.zeros((4, 4), np.float32))
    content = hashlib.sha256(b"content").hexdigest()
    notes: list[dict[str, object]] = [
        PARTS, {"pairs_per_second": 3.5, "load_seconds": 1.0}, {"model": "tiny"},
        {"numeric_ids": 0, "sha256": content}, {"label": "HNSW32", "factory": "HNSW32", "sha256": content},
        {"label": "bm25@100", "index": {"recall": 0.9}}, {"/x": {"stamp": [1, 2, 3, 4], "sha256": content}},
    ]  # fmt: skip
    for name, note in zip(NOTES, notes, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(note))
    (folder / f"{NOTED['corpora']}.arrow").write_bytes(b"content")
    (folder / f"{NOTED['indexes']}.faiss").write_bytes(b"content")
    for name in ("models/tiny-0123456789ab/model.safetensors", "wheels/some-1.0-py3-none-any.whl",
                 "datasets/org___name/default/dataset_info.json"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 500)
    return folder


def names() -> list[str]:
    """Every file of such a cache."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        made = whole_cache(Path(place))
        return sorted(
            str(path.relative_to(made)) for path in made.rglob("*") if path.stat().st_size and path.is_file()
        )


def nested(depth: int) -> Damage:
    """Folders in folders, deeper than Python's own stack, where a dataset would be."""

    def damage(folder: Path, canary: Path) -> None:
        import os

        before = Path.cwd()
        os.chdir(folder / "datasets")
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(before)
        (folder / "datasets" / "d" / "dataset_info.json").write_text("{}")

    return damage


def named(file: str, name: str) -> Damage:
    """A file under a name that a terminal would obey."""

    def damage(folder: Path, canary: Path) -> None:
        (folder / file).rename((folder / file).with_name(name))

    return damage


ALL = names()
DATA = [name for name in ALL if name not in NOTES]
damages = st.one_of(
    st.builds(byte, st.sampled_from(ALL), shares, st.integers(1, 255)),
    st.builds(cut, st.sampled_from(ALL), shares),
    st.builds(field, shares, odd, st.sampled_from(NOTES)),
    st.builds(kind, st.sampled_from(NOTES), st.sampled_from(KINDS)),
    st.builds(kind, st.sampled_from(DATA), st.sampled_from(KINDS[:-1])),  # gigabytes take their time
    st.builds(
        named, st.just("wheels/some-1.0-py3-none-any.whl"), st.just(f"{NASTY[:30]}.whl".replace("/", ""))
    ),
)
