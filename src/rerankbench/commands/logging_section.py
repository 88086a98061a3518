"""What the logging parts of Hydra's section may say: everything else ends logging with a trace, or worse.

Python's logging builds what it is told: any class, with any arguments and attributes, writing any file. A
config may have formatters of plain fields, handlers that write to the terminal or, in `job_logging`, to a
file NAME.log in the run's folder, and levels for loggers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
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


def formatter(at: str, one: Any, node: Mapping[str, Any]) -> Found:
    """A formatter: its class, and a format of plain fields."""
    if not isinstance(one, dict):
        yield at, f"{at}={shown(one)}: it must be a group of keys, such as format"
        return
    named_by = "()" if "()" in one else "class"
    kind = one.get(named_by, FORMATTERS[0])
    if kind not in ((COLORED,) if named_by == "()" else (*FORMATTERS, COLORED)):
        yield f"{at}.{named_by}", f"{at}.{named_by}={shown(kind)}: {CODE}"
    for key, value in one.items():
        full = f"{at}.{key}"
        if key in ("format", "fmt"):
            if not is_format(value, kind == COLORED):
                yield full, f"{full}={shown(value)}: use fields such as %(message)s, no control characters"
        elif key == "datefmt":
            if value is not None and not (isinstance(value, str) and DATE.fullmatch(value[:201])):
                yield full, f"{full}={shown(value)}: use fields of dates such as %H:%M:%S"
        elif key == "style":
            if value != "%":
                yield full, f"{full}={shown(value)}: give %, and fields such as %(message)s"
        elif key == "log_colors" and kind == COLORED:
            if not is_colors(value):
                yield full, f"{full}={shown(value)}: give the name of a colour for each level"
        elif key != named_by and not (key == "validate" and isinstance(value, bool)):
            yield full, f"{full}={shown(value)}: formatters have no such key here; take it out"


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
    return isinstance(value, dict) and all(
        key in LEVELS and re.fullmatch(r"[\w,]{0,40}", str(color)) for key, color in value.items()
    )


def handler(at: str, one: Any, node: Mapping[str, Any]) -> Found:
    """A handler: its class, which formatter and level, and the arguments that its class is known to take."""
    if not isinstance(one, dict) or one.get("class") not in HANDLERS:
        kind = one.get("class") if isinstance(one, dict) else one
        may = ", ".join(HANDLERS[:3])
        yield f"{at}.class", f"{at}.class={shown(kind)}: {CODE}; loggers may use {may}"
        return
    files = one["class"] in FILES
    rules = ARGUMENTS[one["class"]] | (OF_FILES if files else {})
    if files and not isinstance(one.get("filename"), str):
        yield f"{at}.filename", f"{at}.filename={shown(one.get('filename'))}: give a file"
    for key, value in one.items():
        full = f"{at}.{key}"
        if key == "formatter":
            if value not in dict(named(node, "formatters")):
                yield full, f"{full}={shown(value)}: there is no such formatter"
        elif key == "level":
            yield from level(full, value)
        elif key == "stream" and one["class"] == STREAM:
            if value not in STREAMS:
                yield full, f"{full}={shown(value)}: {CODE}; write {' or '.join(STREAMS)}"
        elif key in rules:
            if not re.fullmatch(rules[key], as_text(value)):
                yield full, f"{full}={shown(value)}: this handler has no such value"
        elif key != "class" and not (key == "filename" and files):
            yield full, f"{full}={shown(value)}: this handler has no such key here; take it out"


def logger(at: str, one: Any, node: Mapping[str, Any]) -> Found:
    """A logger: its level, and handlers that are there."""
    if not isinstance(one, dict):
        yield at, f"{at}={shown(one)}: it must be a group of keys, such as level"
        return
    for key, value in one.items():
        full = f"{at}.{key}"
        if key == "level":
            yield from level(full, value)
        elif key == "handlers":
            known = dict(named(node, "handlers"))
            names = value if isinstance(value, list) else [None]
            if not all(isinstance(name, str) and name in known for name in names):
                may = ", ".join(map(str, known)) or "there are none"
                yield full, f"{full}={shown(value)}: give a list of handlers: {may}"
        elif key != "propagate" or not isinstance(value, bool):
            yield full, f"{full}={shown(value)}: loggers have no such key or value here; take it out"


def level(at: str, value: Any) -> Found:
    """A level that Python's logging knows."""
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100
    if not number and value not in LEVELS:
        yield at, f"{at}={shown(value)}: there is no such level; choose one of {', '.join(LEVELS)}"
