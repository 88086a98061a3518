"""Texts of strangers on a terminal, in logs and on pages; and that nothing is shown in another way."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table

from rerankbench.basics import visible as module
from rerankbench.basics.visible import Console, Lines, Record, say, visible, visible_json, visible_lines
from rerankbench.report.page.markdown import safe
from strange_runs import NASTY, hidden

SOURCE = Path(__file__).parents[2] / "src" / "rerankbench"
UNSEEN = [
    chr(c)
    for c in range(sys.maxunicode + 1)
    if unicodedata.category(chr(c)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
]
texts = st.text(st.characters(), max_size=30)
always = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def test_every_character_that_unicode_calls_control_or_format_is_shown() -> None:
    assert [c for c in UNSEEN if hidden(visible(c)) or hidden(visible_lines(c).replace("\t", ""))] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]8;;http://x\x07y\x1b]8;;\x07", "\\x1b]8;;http://x\\x07y\\x1b]8;;\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("gnp.\u202etxt", "gnp.\\u202etxt"),
        ("mini\u200blm", "mini\\u200blm"),
        ("mini\u200dlm", "mini\\u200dlm"),
        ("\u200c", "\\u200c"),
        ("a\nfailed: b\r\tc", "a\\nfailed: b\\r\\tc"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80", "\\udc80"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🔬 क्\u200dष", "👩\u200d🔬 क्\u200dष"),
        ("plain, Ä ö 水 \\x1b", "plain, Ä ö 水 \\x1b"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(texts)
@always
def test_what_is_shown_stays_the_same_when_shown_again(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert visible(visible_lines(text)) == visible(text)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
@always
def test_json_keeps_its_values(text: str) -> None:
    written = visible_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(written) == {text: [text]}
    assert not [c for c in hidden(written) if c not in "\u200c\u200d"]


@given(texts)
@always
def test_markdown_has_no_markup_of_others(text: str) -> None:
    assert not [c for c in hidden(safe(text)) if c not in "\u200c\u200d"]
    assert "<" not in safe(text)
    assert "\n" not in safe(text)


@pytest.mark.parametrize(
    "text",
    ["https://x.example", "HTTP://x", "www.x.example", "[a](b)", "![a](b)", "a | b", "<img src=x>", "`a`",
     "- a", "+ a", "1. a", "# a", "$a$", "~~a~~", "> a", "=== a", "@joe"],
)  # fmt: skip
def test_addresses_and_lists_are_plain_in_markdown(text: str) -> None:
    shown = safe(text)
    assert shown != text
    assert "://" not in shown
    assert "www." not in shown.lower()


def test_lines_are_printed_whole_and_each_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nerror: forged", NASTY)
    say("wrong", error=True)
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 2
    assert not hidden(printed.out)
    assert printed.err == "wrong\n"


def test_a_terminal_without_the_characters_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("水 Ä")
    assert raw.getvalue() == b"\\u6c34 \\xc4\n"


def test_the_console_shows_tables_of_strangers_and_takes_no_markup() -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=300)
    table = Table(title=NASTY, caption=NASTY)
    table.add_column(NASTY)
    table.add_row(NASTY)
    console.print(table)
    console.print(f"[red]{NASTY}[/red] [link=http://x]y[/link]")
    assert not hidden(sink.getvalue())
    assert sink.getvalue().count("[red]") >= 4
    assert "[link=http://x]y[/link]" in sink.getvalue()


@pytest.mark.parametrize("form", ["%(message)s", "{message}"])
def test_logs_show_what_strangers_say_in_any_format(form: str) -> None:
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(logging.Formatter(form, style="{" if "{" in form else "%"))
    for message, given_ in (("%s: %d", (NASTY, 3)), (NASTY.replace("%", ""), ()), ("%s", (Path("a\nb\x1b"),)),
                            ("%s", (ValueError("x\ny\x9b"),)), ("%(a)s", ({"a": NASTY},))):  # fmt: skip
        handler.emit(Record("x", logging.ERROR, "f", 1, message, given_, None))
    assert not hidden(sink.getvalue())
    handler.emit(Record("x", logging.ERROR, "f", 1, "%s", (Lines("Traceback:\n  line\x1b"),), None))
    assert sink.getvalue().endswith("Traceback:\n  line\\x1b\n")


def test_the_logs_of_commands_are_guarded() -> None:
    from rerankbench.basics.masking import MaskedFormatter
    from rerankbench.basics.quiet_libraries import quiet_libraries

    before = logging.getLogRecordFactory()
    try:
        quiet_libraries()
        factory = logging.getLogRecordFactory()
        assert isinstance(factory, type)
        assert issubclass(factory, Record)
    finally:
        logging.setLogRecordFactory(before)
    plain = logging.LogRecord("x", logging.ERROR, "f", 1, "a\x1b\u202e", (), None)
    assert MaskedFormatter("%(message)s").format(plain) == "a\\x1b\\u202e"  # of a worker, too


# --- nothing is shown in another way ---

ELSEWHERE = {
    "print", "pprint", "sys.stdout.writelines", "sys.stderr.writelines", "sys.__stdout__.write",
    "sys.__stderr__.write", "os.write", "traceback.print_exc", "traceback.print_exception",
    "traceback.print_stack", "logging.basicConfig", "warnings.warn", "rich.print", "click.echo",
}  # fmt: skip
ALLOWED = {
    ("basics/visible.py", "stream.write"): "the one way",
    ("engine/store/lock.py", "os.write"): "into a lock file",
    ("judging/record.py", "os.write"): "into the record of a judge",
    ("basics/printing.py", "sys.stdout"): "stands for the stream that `say` writes to",
    ("basics/printing.py", "sys.stderr"): "the same",
    ("basics/printing.py", "sys.stderr.write"): "a line of its own, when there is no current folder",
}


def shown_otherwise(tree: ast.AST) -> list[str]:
    """Calls that show a text, and names of rich's that do, but those of `visible`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ELSEWHERE or name.endswith((".stdout.write", ".stderr.write")):
                found.append(name)
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name for alias in node.names}
            if node.module in ("rich", "rich.console") and names & {
                "print",
                "Console",
                "print_json",
                "inspect",
            }:
                found.append(f"from {node.module} import {', '.join(sorted(names))}")
            if node.module == "sys" and names & {"stdout", "stderr"}:
                found.append("from sys import a stream")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr"):
            found.append(ast.unparse(node))
    return found


USES = {"sys.stdout.isatty", "sys.stderr.isatty"}


def without_questions(tree: ast.AST) -> ast.AST:
    """The tree without questions whether a stream is a terminal, which show nothing."""

    class Out(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            return ast.Constant(None) if ast.unparse(node.func) in USES else self.generic_visit(node)

    return Out().visit(tree)


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_everything_is_shown_by_the_one_way(file: Path) -> None:
    found = shown_otherwise(without_questions(ast.parse(file.read_text(encoding="utf-8"))))
    name = str(file.relative_to(SOURCE))
    if name == "basics/visible.py":
        assert set(found) <= {"sys.stdout", "sys.stderr", "from rich.console import Console"}
        return
    assert [call for call in found if (name, call) not in ALLOWED] == []


@pytest.mark.parametrize(
    "code",
    ["print('x')", "sys.stderr.write(x)", "from rich import print", "from rich.console import Console",
     "out = sys.stdout", "print(x, file=sys.stderr)", "from sys import stderr", "warnings.warn(x)"],
)  # fmt: skip
def test_other_ways_are_found(code: str) -> None:
    assert shown_otherwise(without_questions(ast.parse(code)))


def test_the_linter_allows_no_print_in_the_package() -> None:
    import tomllib

    settings_ = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "T20" in settings_["select"]
    allowed = [
        place for place, rules in settings_["per-file-ignores"].items() if {"T20", "T201"} & set(rules)
    ]
    assert [place for place in allowed if place.startswith("src")] == []
    assert "noqa" not in Path(module.__file__).read_text()
