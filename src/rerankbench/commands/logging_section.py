"""What the logging parts of Hydra's section may say: everything else ends logging with a trace, or worse.

Python's logging builds what it is told: any class, with any arguments and attributes, writing any file. A
config may have formatters of plain fields, handlers that write to the terminal or, in `job_logging`, to a
file NAME.log in the run's folder, and levels for loggers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rerankbench.basics.complaints import as_text, shown

Found = Iterator[tuple[str, str]]

CODE = "a config cannot name code to run"
LEVELS = tuple(logging.getLevelNamesMapping())
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
FIELDS = (
    "name|levelno|levelname|pathname|filename|module|lineno|funcName|created|asctime|msecs|relativeCreated"
    "|thread|threadName|process|processName|message"
)
COLORS = r"log_color|reset|(?:bold_|thin_|bg_|fg_)?\w+"
NOT_PERCENT = r"[^%$\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202f\u2066-\u2069]"
DATE = re.compile(rf"(?:{NOT_PERCENT}|%[aAbBcdHIjmMpSUwWxXyYzZfGVu%])*")
FORMATTERS = ("logging.Formatter", "rerankbench.basics.masking.MaskedFormatter")
COLORED = "colorlog.ColoredFormatter"
FILES = (
    "logging.FileHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
)
STREAM = "logging.StreamHandler"
HANDLERS = (STREAM, "logging.NullHandler", *FILES)
LOG_FILE = re.compile(r"\$\{hydra\.runtime\.output_dir\}/(?:[\w-]|\$\{hydra\.job\.name\}|\.(?!\.))+\.log")
TOP = ("version", "formatters", "handlers", "loggers", "root", "disable_existing_loggers")
# Values of a handler's other arguments, for each class that has them.
ARGUMENTS: dict[str, dict[str, str]] = {
    STREAM: {},
    "logging.NullHandler": {},
    FILES[0]: {},
    FILES[1]: {"maxBytes": r"\d{1,12}", "backupCount": r"\d{1,3}"},
    FILES[2]: {
        "when": r"[SMHDsmhd]|midnight|MIDNIGHT|[wW][0-6]",
        "interval": r"[1-9]\d{0,5}",
        "backupCount": r"\d{1,3}",
        "utc": "true|false",
    },
}
OF_FILES = {"mode": "a|w", "encoding": "null|utf-8|utf8|ascii|latin-1", "delay": "true|false"}


def strangers(part: str, node: Any) -> Found:
    """(key, complaint) for all that a stranger's config may not say in `hydra.<part>`."""
    yield from wrong(part, node)
    if not isinstance(node, dict):
        return
    for name, handler in named(node, "handlers"):
        key = f"hydra.{part}.handlers.{name}.filename"
        if isinstance(handler, dict) and "filename" in handler:
            file = handler["filename"]
            if part == "hydra_logging":
                yield key, f"{key}={shown(file)}: Hydra's own log may only go to {' or '.join(STREAMS)}"
            elif not LOG_FILE.fullmatch(str(file)):
                yield key, f"{key}={shown(file)}: it may only be ${{hydra.runtime.output_dir}}/NAME.log"


def wrong(part: str, node: Any) -> Found:
    """(key, complaint) for all that logging could not be set up with, or that is not known to do no harm."""
    at = f"hydra.{part}"
    if node is None:
        return
    if not isinstance(node, dict):
        yield at, f"{at}={shown(node)}: it must be a group of keys; leave it out"
        return
    if node.get("version") != 1 or isinstance(node.get("version"), bool):
        yield f"{at}.version", f"{at}.version={shown(node.get('version'))}: give 1"
    if "root" not in node:
        yield f"{at}.root", f"{at}.root is needed: give a level and handlers, or null for no log"
    if not isinstance(node.get("disable_existing_loggers", False), bool):
        yield f"{at}.disable_existing_loggers", f"{at}.disable_existing_loggers: give true or false"
    for key in node:
        if key not in TOP and not (key in ("filters", "incremental") and not node[key]):
            yield f"{at}.{key}", f"{at}.{key}={shown(node[key])}: logging has no such key here; take it out"
    for kind, check in (("formatters", formatter), ("handlers", handler), ("loggers", logger)):
        if not isinstance(node.get(kind) or {}, dict):
            yield f"{at}.{kind}", f"{at}.{kind}={shown(node[kind])}: it must be a group of keys"
            continue
        for name, one in named(node, kind):
            yield from check(f"{at}.{kind}.{name}", one, node)
    if node.get("root") is not None:
        yield from logger(f"{at}.root", node["root"], node)


def named(node: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    parts = node.get(kind)
    return list(parts.items()) if isinstance(parts, dict) else []


def each(at: str, one: Mapping[str, Any], problem: Callable[[str, Any], str]) -> Found:
    """(key, complaint) for the keys of a part that `problem` finds fault with."""
    for key, value in one.items():
        if said := problem(key, value):
            yield f"{at}.{key}", f"{at}.{key}={shown(value)}: {said}"


def formatter(at: str, one: Any, node: Mapping[str, Any]) -> Found:
    """A formatter: its class, and a format of plain fields."""
    if not isinstance(one, dict):
        yield at, f"{at}={shown(one)}: it must be a group of keys, such as format"
        return
    named_by = "()" if "()" in one else "class"
    kind = one.get(named_by, FORMATTERS[0])
    if kind not in ((COLORED,) if named_by == "()" else (*FORMATTERS, COLORED)):
        yield f"{at}.{named_by}", f"{at}.{named_by}={shown(kind)}: {CODE}"
    own = {key: value for key, value in one.items() if key != named_by}
    yield from each(at, own, lambda key, value: formatter_problem(key, value, kind == COLORED))


def formatter_problem(key: str, value: Any, colored: bool) -> str:
    """What is wrong with a formatter's key or its value; empty if nothing is."""
    if key in ("format", "fmt"):
        cure = "use fields such as %(message)s, no control characters"
        return "" if is_format(value, colored) else cure
    if key == "datefmt":
        good = value is None or (isinstance(value, str) and DATE.fullmatch(value[:201]))
        return "" if good else "use fields of dates such as %H:%M:%S"
    if key == "style":
        return "" if value == "%" else "give %, and fields such as %(message)s"
    if key == "log_colors" and colored:
        return "" if is_colors(value) else "give the name of a colour for each level"
    known = key == "validate" and isinstance(value, bool)
    return "" if known else "formatters have no such key here; take it out"


def is_format(value: Any, colored: bool) -> bool:
    """Whether a format holds plain fields of a log record only, each of a sensible width."""
    fields = f"{FIELDS}|{COLORS}" if colored else FIELDS
    pattern = rf"(?:{NOT_PERCENT}|%%|%\((?:{fields})\)[-#0+ ]?\d{{0,3}}(?:\.\d{{1,3}})?[sdfr])*"
    if not isinstance(value, str) or len(value) > 1000 or not re.fullmatch(pattern, value):
        return False
    numbers = re.findall(r"%\((\w+)\)[-#0+ .\d]*[df]", value)
    return "%(" in value and set(numbers) <= {"levelno", "lineno", "created", "msecs", "relativeCreated",
                                              "thread", "process"}  # fmt: skip


def is_colors(value: Any) -> bool:
    plain = re.compile(r"[\w,]{0,40}")
    return isinstance(value, dict) and all(k in LEVELS and plain.fullmatch(str(v)) for k, v in value.items())


def handler(at: str, one: Any, node: Mapping[str, Any]) -> Found:
    """A handler: its class, which formatter and level, and the arguments that its class is known to take."""
    if not isinstance(one, dict) or one.get("class") not in HANDLERS:
        kind = one.get("class") if isinstance(one, dict) else one
        may = ", ".join(HANDLERS[:3])
        yield f"{at}.class", f"{at}.class={shown(kind)}: {CODE}; loggers may use {may}"
        return
    kind, given = one["class"], dict(one)
    del given["class"]
    if kind in FILES and not isinstance(given.pop("filename", None), str):
        yield f"{at}.filename", f"{at}.filename={shown(one.get('filename'))}: give a file"
    known = dict(named(node, "formatters"))
    yield from each(at, given, lambda key, value: handler_problem(key, value, kind, known))


def handler_problem(key: str, value: Any, kind: str, formatters: Mapping[str, Any]) -> str:
    """What is wrong with a handler's key or its value; empty if nothing is."""
    rules = ARGUMENTS[kind] | (OF_FILES if kind in FILES else {})
    if key == "formatter":
        return "" if value in formatters else "there is no such formatter"
    if key == "level":
        return level_problem(value)
    if key == "stream" and kind == STREAM:
        return "" if value in STREAMS else f"{CODE}; write {' or '.join(STREAMS)}"
    if key in rules:
        return "" if re.fullmatch(rules[key], as_text(value)) else "this handler has no such value"
    return "this handler has no such key here; take it out"


def logger(at: str, one: Any, node: Mapping[str, Any]) -> Found:
    """A logger: its level, and handlers that are there."""
    if not isinstance(one, dict):
        yield at, f"{at}={shown(one)}: it must be a group of keys, such as level"
        return
    known = dict(named(node, "handlers"))
    yield from each(at, one, lambda key, value: logger_problem(key, value, known))


def logger_problem(key: str, value: Any, handlers: Mapping[str, Any]) -> str:
    """What is wrong with a logger's key or its value; empty if nothing is."""
    if key == "level":
        return level_problem(value)
    if key == "handlers":
        known = isinstance(value, list) and all(isinstance(n, str) and n in handlers for n in value)
        may = ", ".join(map(str, handlers)) or "there are none"
        return "" if known else f"give a list of handlers: {may}"
    known = key == "propagate" and isinstance(value, bool)
    return "" if known else "loggers have no such key or value here; take it out"


def level_problem(value: Any) -> str:
    """Why this is no level of Python's logging; empty if it is one."""
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100
    return "" if number or value in LEVELS else f"there is no such level; choose one of {', '.join(LEVELS)}"
