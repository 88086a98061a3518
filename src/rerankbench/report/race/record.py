"""race.json: what a race timed, round by round, and what was not measured, with why."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.store.rows import write_atomic
from rerankbench.report.race.intervals import typical

FILE, SCHEMA = "race.json", 1
FILLED = 0.2  # of the queries, at most, that may count by disturbed rounds alone
TOO_BUSY = 1 / 3  # of a race's time in disturbed rounds: caches and threads take a while to settle after one
Values = NDArray[np.float64]


class Cell(NamedTuple):
    """One thing that is timed on a query: searching with `stage`, or reranking `depth` of its candidates.

    `reranker` is empty where the first stage searches; `layer` None where the model has one only.
    """

    stage: str
    reranker: str = ""
    layer: int | None = None
    depth: int = 0


@dataclass
class Round:
    """One query, timed by all whose turn it was; milliseconds by cell.

    `before`, `after`: milliseconds of the fixed products around it, one for each device. `calm`: whether the
    machine was as fast as ever in it, `slower`: how many times as long as on the quiet machine a product
    took. `portions`: pairs that a reranker scored as a batch job would, and in how many seconds.
    """

    query: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    times: dict[Cell, float] = field(default_factory=dict)
    portions: dict[str, tuple[int, float]] = field(default_factory=dict)
    calm: bool = True
    slower: float = 1.0

    @property
    def seconds(self) -> float:
        """How long everyone's turns took together."""
        return sum(self.times.values()) / 1000 + sum(seconds for _, seconds in self.portions.values())


@dataclass
class Contestant:
    """One process of the race, and what it took; `why` says why there are no figures, where there are none.

    `kind`: first_stage or reranker; `key`: the content hash by which runs name it. Memory in MB (10^6 bytes).
    `wanted_seconds`: of a race in which all its depths could be timed, where this one was too short.
    """

    kind: str
    key: str
    label: str
    why: str = ""
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    load_seconds: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    wanted_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """A whole race. `stopped`: sharp, all queries, time, nobody is left, or why it never began.

    `queries`: how many the collection has; `machine`: what it ran on; `tolerance`: how much slower a fixed
    product may be in a calm round.
    """

    started: str
    seconds: float
    limit_seconds: float
    stopped: str
    width: float
    queries: int
    machine: dict[str, Any]
    contestants: tuple[Contestant, ...] = ()
    rounds: tuple[Round, ...] = ()
    tolerance: float = 0.1

    @cached_property
    def ids(self) -> list[str]:
        """The queries that were timed, in the order of their first round."""
        return list(dict.fromkeys(each.query for each in self.rounds))

    def contestant(self, kind: str, key: str) -> Contestant | None:
        return next((c for c in self.contestants if (c.kind, c.key) == (kind, key)), None)

    @property
    def cells(self) -> set[Cell]:
        return {cell for each in self.rounds for cell in each.times}

    def values(self, cell: Cell) -> Values:
        """Milliseconds of each query [queries], its median over calm rounds.

        A few queries may have had disturbed rounds only. Left out, they would move a median by which queries
        they are, so they count by those times, each divided by how much slower the fixed product was. Where
        that would be more than `FILLED` of all, they are NaN.
        """
        found = typical(timings(self.rounds, self.ids, cell))
        missing = np.isnan(found)
        if missing.any() and missing.mean() <= FILLED:
            found[missing] = typical(corrected(self.rounds, self.ids, cell))[missing]
        return found

    @property
    def drifted(self) -> int:
        """Rounds in which the machine was not calm."""
        return sum(not each.calm for each in self.rounds)

    @property
    def busy(self) -> bool:
        """Whether the machine was too busy with something else for costs to be relied on."""
        seconds = sum(each.seconds for each in self.rounds)
        return sum(each.seconds for each in self.rounds if not each.calm) > TOO_BUSY * seconds

    def write(self, folder: Path) -> Path:
        write_atomic(folder / FILE, (json.dumps(document(self), indent=1, ensure_ascii=False)).encode())
        return folder / FILE


def timings(rounds: Sequence[Round], ids: Sequence[str], cell: Cell) -> Values:
    """Milliseconds [queries, repeats] of calm rounds, queries as in `ids`; NaN where there are fewer."""
    return table([(each.query, each.times[cell]) for each in rounds if each.calm and cell in each.times], ids)


def corrected(rounds: Sequence[Round], ids: Sequence[str], cell: Cell) -> Values:
    """Milliseconds [queries, repeats] of all rounds, as they would have been on the quiet machine."""
    return table([(each.query, each.times[cell] / each.slower) for each in rounds if cell in each.times], ids)


def table(times: Iterable[tuple[str, float]], ids: Sequence[str]) -> Values:
    """Each query's values [queries, repeats], queries as in `ids`; NaN where there are fewer."""
    found: dict[str, list[float]] = {query: [] for query in ids}
    for query, ms in times:
        found[query].append(ms)
    out = np.full((len(ids), max([1, *map(len, found.values())])), np.nan)
    for row, query in zip(out, ids, strict=True):
        row[: len(found[query])] = found[query]
    return out


def batch(rounds: Sequence[Round], reranker: str) -> tuple[int, float]:
    """Pairs that a reranker scored as a batch job would in calm rounds, and in how many seconds."""
    found = [each.portions[reranker] for each in rounds if each.calm and reranker in each.portions]
    return sum(pairs for pairs, _ in found), sum(seconds for _, seconds in found)


def document(record: Record) -> dict[str, Any]:
    """Plain values: a list of milliseconds for each cell, a place for each round, null where not timed."""
    plain = {k: v for k, v in vars(record).items() if k not in ("contestants", "rounds", "ids")}
    rounds = [
        {"query": r.query, "calm": r.calm, "slower": r.slower}
        | {"product_ms": [list(r.before), list(r.after)], "batches": r.portions}
        for r in record.rounds
    ]
    cells = sorted(record.cells, key=lambda cell: tuple(map(str, cell)))
    timed = [cell._asdict() | {"ms": [r.times.get(cell) for r in record.rounds]} for cell in cells]
    people = [asdict(contestant) for contestant in record.contestants]
    return {"schema": SCHEMA, **plain, "contestants": people, "rounds": rounds, "timings": timed}


def read(file: Path) -> Record | None:
    """The race that a file tells of; None where there is none, or it is damaged or of another schema."""
    try:
        found = json.loads(file.read_bytes())
        return parsed(found) if found["schema"] == SCHEMA else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None


def fitting(files: Iterable[Path], keys: Collection[str]) -> Record | None:
    """Of some races, the one that knows most of the first stages and rerankers in `keys`, else the last.

    Races are never put together: they were held at different times.
    """
    races = [race for file in dict.fromkeys(files) if (race := read(file)) is not None]

    def known(race: Record) -> int:
        return sum(contestant.key in keys and not contestant.why for contestant in race.contestants)

    return max((race for race in races if known(race)), key=lambda r: (known(r), r.started), default=None)


def numbers(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(map(float, values))


def parsed(found: dict[str, Any]) -> Record:
    """Raises KeyError, TypeError or ValueError for what is no race."""
    rounds = [
        Round(
            str(r["query"]),
            *(numbers(r["product_ms"][0]), numbers(r["product_ms"][1])),
            portions={key: (int(pairs), float(seconds)) for key, (pairs, seconds) in r["batches"].items()},
            calm=bool(r["calm"]),
            slower=float(r.get("slower", 1.0)),
        )
        for r in found["rounds"]
    ]
    for timed in found["timings"]:
        cell = Cell(timed["stage"], timed["reranker"], timed["layer"], int(timed["depth"]))
        for each, ms in zip(rounds, timed["ms"], strict=True):
            if ms is not None and math.isfinite(ms) and ms > 0:
                each.times[cell] = float(ms)
    people = tuple(Contestant(**contestant) for contestant in found["contestants"])
    known = ("started", "seconds", "limit_seconds", "stopped", "width", "queries", "machine", "tolerance")
    plain = {name: found[name] for name in known}
    return Record(**plain, contestants=people, rounds=tuple(rounds))
