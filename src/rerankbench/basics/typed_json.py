"""JSON files whose types are checked, so that whoever reads one gets what was promised or one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from rerankbench.basics.regular_file import read_regular
from rerankbench.basics.visible import visible

T = TypeVar("T")

MOST = 64 << 20  # bytes; a layerwise run's result.json has some 100,000
MOST_NOTE = 8 << 20
LARGEST = 1e15  # beyond every number that is measured here, and still whole in double precision
LONGEST = 60  # characters of a value that is shown

# Numbers are no text and no truth value; whole numbers are numbers, too.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=LARGEST)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
# What a store takes for the name of a metric or a parameter, and what no path leads away with.
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_. :-]*(/[A-Za-z0-9_][A-Za-z0-9_. :-]*)*$", max_length=200)
]
OBJECT = TypeAdapter(dict[str, Any])
STEP = r"^[0-9]{1,9}$"
Step = Annotated[str, Field(pattern=STEP)]  # a cutoff, a depth or a layer, as JSON's keys have it


def read(path: Path, kind: TypeAdapter[T], most: int = MOST) -> T:
    """What a JSON file of at most `most` bytes holds, as `kind`.

    Raises ValueError saying what is wrong with it in one line, and OSError where there is no such file, or
    something else than a file of that size.
    """
    return parsed(read_regular(path, most), kind)


def note(path: Path, kind: TypeAdapter[T]) -> T | None:
    """What a small file says that only saves time; None where it is not there, or damaged."""
    try:
        return read(path, kind, MOST_NOTE)
    except (OSError, ValueError):
        return None


def plain(data: bytes) -> Any:
    """The values of a JSON text. Raises ValueError in one line."""
    try:
        from_json(data, allow_inf_nan=False)  # also says where it is nested without end
    except ValueError as error:
        raise ValueError(f"cannot be read (it is not JSON: {error})") from None
    return json.loads(data, object_pairs_hook=once)


def parsed(data: bytes, kind: TypeAdapter[T]) -> T:
    """JSON as `kind`. Raises ValueError in one line: where, what was expected, what was found."""
    plain(data)
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        raise ValueError(first(error)) from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose keys stands twice, since readers would differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} appears twice in one object")
    return found


def first(error: ValidationError) -> str:
    """The first of the mistakes: `dataset.docs should be a valid integer, not "x" (and 2 more)`."""
    found = error.errors(include_url=False, include_context=False)
    mistake = found[0]
    where = ".".join(shown(part) for part in mistake["loc"] if part != "[key]")
    said = str(mistake["msg"])
    said = said[0].lower() + said[1:]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if mistake["type"] == "missing":
        return f"{where} is missing{more}"
    said = re.sub(r"^(input|string|dictionary|list) (?=should)", "", said)
    if mistake["type"] == "string_pattern_mismatch":
        said = "should be a whole number" if STEP in said else "should be a plain name"
    value = mistake["input"]
    return f"{where or 'it'} {said}, not {shown(repr(value) if isinstance(value, str) else value)}{more}"


def shown(value: object) -> str:
    """A value, cut where it is long."""
    text = visible(value[: LONGEST + 1] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
