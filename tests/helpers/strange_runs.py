"""A whole run folder, what a stranger may do to it, and what must hold of every command that reads it."""

from __future__ import annotations

import io
import json
import os
import socket
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from simulated_runs import noisy, write_run

COUNT = 12
FIRST = np.random.default_rng(0).uniform(0.2, 0.6, COUNT)
SECRET = "the canary's secret"
# What a terminal obeys, hides or turns round; a link of OSC 8, markup of HTML, Markdown and rich.
NASTY = (
    (
        "\x1b[2J\x1b]8;;http://x\x07\x9b31m\u202e\u200b\x7f\ud83d\ude00"
        "<script>alert(1)</script>|`a`[red]\n[y](https://x)"
    )
    .encode("utf-16", "surrogatepass")
    .decode("utf-16")
)


def whole_run(folder: Path, name: str = "minilm", **changes: Any) -> Path:
    """A run with one reranker at two depths and everything that a run writes."""
    depths = {5: FIRST + noisy(0.1, 0.05, COUNT, 1), 10: FIRST + noisy(0.2, 0.05, COUNT, 2)}
    means = {"first_stage": {"ndcg_at_10": 0.4}, "reranked": {"ndcg_at_10": 0.6}}
    more: dict[str, Any] = {
        "notes": ["a note"],
        "measures": means,
        "by_depth": {"5": {"ndcg_at_10": 0.5}, "10": {"ndcg_at_10": 0.6}},
        "by_cutoff": {"first_stage/recall_at_k": {"5": 0.5, "10": 0.7}},
        "pairs": {"total": 20, "scored": 20, "reused": 0},
        "seconds": {"scoring": 1.5},
        "sweep_id": "day/time",
        "depth": 10,
        "mlflow_run_id": None,
    }
    write_run(folder, name, FIRST, depths, **(more | changes))
    write_examples(folder)
    for file in ("candidates.trec", "reranked.trec", "qrels.trec", "rerankbench.log"):
        (folder / file).write_text("q0 Q0 d0 1 1.0 t\n")
    (folder / ".hydra").mkdir()
    for file in ("config", "hydra", "overrides"):
        (folder / ".hydra" / f"{file}.yaml").write_text("tracking: {kind: none}\n")
    return folder


def write_examples(folder: Path) -> None:
    """scores.parquet and texts.parquet of the same queries, ten documents each."""
    queries = [f"q{i}" for i in range(COUNT) for _ in range(10)]
    ranks = list(range(1, 11)) * COUNT
    scores = pa.table({
        "query_id": queries, "doc_id": [f"d{rank}" for rank in ranks], "rank": pa.array(ranks, pa.int32()),
        "relevance": pa.array([1 if rank == 3 else None for rank in ranks], pa.int32()),
        "score": pa.array([float(-rank % 7) for rank in ranks], pa.float32()),
    })  # fmt: skip
    pq.write_table(scores, folder / "scores.parquet", write_page_checksum=True)
    kinds = ["query"] * COUNT + ["document"] * 10
    ids = [f"q{i}" for i in range(COUNT)] + [f"d{rank}" for rank in range(1, 11)]
    texts = pa.table({"kind": kinds, "id": ids, "text": [f"text of {name}" for name in ids]})
    pq.write_table(texts, folder / "texts.parquet", write_page_checksum=True)


FILES = (
    "result.json", "per_query.parquet", "scores.parquet", "texts.parquet", "candidates.trec",
    "rerankbench.log", ".hydra/config.yaml",
)  # fmt: skip
TABLES = FILES[1:4]

# --- what is done to a folder ---

Damage = Callable[[Path, Path], None]  # (folder, canary): changes the folder


def byte(file: str, place: float, change: int) -> Damage:
    def damage(folder: Path, canary: Path) -> None:
        data = bytearray((folder / file).read_bytes())
        data[int(place * (len(data) - 1))] ^= change
        (folder / file).write_bytes(data)

    return damage


def cut(file: str, place: float) -> Damage:
    def damage(folder: Path, canary: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(place * len(data))])

    return damage


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from paths(inner, (*above, key))


GONE = object()


def field(place: float, new: Any, file: str = "result.json") -> Damage:
    """One value of result.json replaced, or taken away."""

    def damage(folder: Path, canary: Path) -> None:
        values = json.loads((folder / file).read_text())
        places = list(paths(values))
        *above, key = places[int(place * (len(places) - 1))]
        holder = values
        for part in above:
            holder = holder[part]
        if new is GONE:
            del holder[key]
        else:
            holder[key] = new
        (folder / file).write_text(json.dumps(values))

    return damage


def text(content: str) -> Damage:
    """Another text for result.json as a whole."""

    def damage(folder: Path, canary: Path) -> None:
        (folder / "result.json").write_text(content)

    return damage


def kind(file: str, what: str) -> Damage:
    """Something else in a file's place, or beside it."""

    def damage(folder: Path, canary: Path) -> None:
        path = folder / file
        path.unlink(missing_ok=True)
        match what:
            case "pipe":
                os.mkfifo(path)
            case "socket":
                before = Path.cwd()
                os.chdir(path.parent)  # the names of sockets are short
                with socket.socket(socket.AF_UNIX) as made:
                    made.bind(path.name)
                os.chdir(before)
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to(canary / "secret")
            case "link to a folder":
                path.symlink_to(canary)
            case "link to itself":
                path.symlink_to(path)
            case "link to nothing":
                path.symlink_to(canary / "nothing")
            case "link to an endless device":
                path.symlink_to("/dev/zero")
            case "hard link":
                os.link(canary / "secret", path)
            case "nothing there":
                pass
            case "empty":
                path.touch()
            case "gigabytes":
                path.touch()
                os.truncate(path, 20 << 30)  # none of them on the disk

    return damage


KINDS = (
    "pipe", "socket", "folder", "link", "link to a folder", "link to itself", "link to nothing",
    "link to an endless device", "hard link", "nothing there", "empty", "gigabytes",
)  # fmt: skip


def table(file: str, column: float, how: str) -> Damage:
    """One column of a table changed."""

    def damage(folder: Path, canary: Path) -> None:
        found = pq.read_table(folder / file)
        place = int(column * (found.num_columns - 1))
        pq.write_table(changed(found, place, how), folder / file)

    return damage


def changed(found: pa.Table, place: int, how: str) -> pa.Table:
    name, rows = found.column_names[place], len(found)
    wrong = {
        "texts": pa.array([NASTY] * rows),
        "numbers": pa.array(np.arange(rows) * 1.5),
        "negative": pa.array(-np.arange(rows) - 1),
        "huge": pa.array([1e308] * rows),
        "infinite": pa.array([float("inf")] * rows),
        "not a number": pa.array([float("nan")] * rows),
        "large whole numbers": pa.array([2**63 - 1] * rows),
        "beyond signed": pa.array([2**64 - 1] * rows, pa.uint64()),
        "nulls": pa.nulls(rows),
        "null texts": pa.array([None] * rows, pa.string()),
        "some nulls": found[name].take(pa.array([i if i % 2 else None for i in range(rows)], pa.int64())),
        "lists": pa.array([[1]] * rows),
        "records": pa.array([{"a": 1}] * rows),
        "truths": pa.array([True] * rows),
        "no UTF-8": pa.array([b"\xff\xfe"] * rows, pa.binary()).view(pa.string()),
        "each its own": pa.array(np.arange(rows)),
        "dates": pa.array(np.arange(rows), pa.timestamp("s")),
    }
    match how:
        case "gone":
            return found.drop_columns([name])
        case "twice":
            return found.append_column(name, found[name])
        case "no rows":
            return found.slice(0, 0)
        case "half":
            return found.slice(0, rows // 2)
        case "rows twice":
            return pa.concat_tables([found, found])
        case "backwards":
            return found.take(pa.array(range(rows - 1, -1, -1)))
        case "renamed":
            names = [
                NASTY.encode("utf-8", "replace").decode() if n == name else n for n in found.column_names
            ]
            return found.rename_columns(names)
    return found.set_column(place, name, wrong[how])


HOW = (
    "texts", "numbers", "negative", "huge", "infinite", "not a number", "large whole numbers",
    "beyond signed", "nulls", "null texts", "some nulls", "lists", "records", "truths", "no UTF-8",
    "each its own", "dates",
    "gone", "twice", "no rows", "half", "rows twice", "backwards", "renamed",
)  # fmt: skip

shares = st.floats(0, 1)
odd = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([10**400, 2**63, -(2**63), 10**15 + 1]),
    st.sampled_from([1e308, -1e308, float("inf"), float("nan"), 5e-324, 0.5]),
    st.sampled_from(["", "x", "1", "nan", NASTY, "../../x", "a" * 100_000, "\x00", "{{ 7 * 7 }}"]),
    st.just([]), st.just({}), st.just([1]), st.just({"a": 1}), st.just({NASTY: NASTY}), st.just([NASTY]),
    st.just({"-1": {"ndcg_at_10": 1}}), st.just([[[[]]]]), st.just(GONE),
)  # fmt: skip
damages = st.one_of(
    st.builds(byte, st.sampled_from(FILES), shares, st.integers(1, 255)),
    st.builds(cut, st.sampled_from(FILES), shares),
    st.builds(field, shares, odd),
    st.builds(kind, st.sampled_from(FILES), st.sampled_from(KINDS)),
    st.builds(table, st.sampled_from(TABLES), shares, st.sampled_from(HOW)),
)

# --- what must hold ---

MOST_SECONDS = 10.0


def hidden(shown: str) -> list[str]:
    """Characters of a text that a terminal obeys or nobody sees."""
    return [c for c in shown if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def tree(place: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in and below a folder: what would change if it were written to."""
    found = {}
    for path in sorted([place, *place.rglob("*")]):
        at = path.lstat()
        found[str(path)] = (at.st_mode, at.st_size if path.is_file() else 0, at.st_mtime_ns)
    return found


@contextmanager
def untouched(place: Path) -> Iterator[None]:
    """Nothing in a folder changes, in at most ten seconds."""
    before, started = tree(place), time.monotonic()
    yield
    assert time.monotonic() - started < MOST_SECONDS
    assert tree(place) == before


def canary(place: Path) -> Path:
    """A folder that links may lead to, and that nothing may read or write."""
    place.mkdir()
    (place / "secret").write_text(SECRET)
    return place


def said(main: Callable[[list[str]], int], words: list[str], codes: tuple[int, ...]) -> str:
    """What a command prints, in lines without anything hidden; it ends with one of `codes`."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    printed = out.getvalue() + err.getvalue()
    assert code in codes, printed
    assert not hidden(printed), printed
    assert "Traceback" not in printed
    if code == 2:
        lines = err.getvalue().splitlines()
        assert lines
        assert all(line.startswith("error: ") and len(line) < 700 for line in lines), lines
    return printed
