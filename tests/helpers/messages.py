"""Every place in the package where a mistake is put into words, and which tests have seen it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "rerankbench"
LEAST = 12  # letters of its own, below which a text could be anything
QUOTED = 15
NO_WORDS = re.compile(r"^\w+$|\\|^\S*\||SELECT |%s")  # keys, patterns, queries, lines of logs
TELLS = re.compile(r"(^|_)(problems?|refus\w*|misfits|odd_values|failure|cannot_be_loaded)$")


@dataclass(frozen=True)
class Message:
    """One wording: the file in the package, the line, and what every message made of it looks like."""

    file: str
    line: int
    pieces: tuple[str | None, ...]

    def is_in(self, page: str) -> bool:
        """Whether a line of the page shows a message of this wording."""
        words = [piece.replace("|", r"\|") for piece in self.pieces if piece]
        longest = max(words, key=len)
        return longest in page and any(in_order(words, line) for line in page.splitlines() if longest in line)

    def is_quoted(self, tests: str) -> bool:
        """Whether a test quotes enough of it: `QUOTED` letters on end."""
        words = [piece.strip(" ;:,()") for piece in self.pieces if piece]
        starts = ((word, at) for word in words for at in range(0, max(1, len(word) - QUOTED + 1), 4))
        return any(len(word) >= 10 and word[at : at + QUOTED] in tests for word, at in starts)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {''.join('...' if p is None else p for p in self.pieces)}"


def messages() -> Iterator[Message]:
    """All wordings of mistakes: in `UserError(...)`, `Problem(...)`, `log.add(...)`, and in what functions
    named after problems return."""
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        places = [node for node in ast.walk(tree) if tells(node)]
        seen: dict[int, ast.expr] = {id(text): text for place in places for text in texts(place)}
        for text in seen.values():
            if letters(text) >= LEAST and not NO_WORDS.search("".join(p or " " for p in parts(text))):
                yield Message(str(file.relative_to(SOURCE)), text.lineno, tuple(parts(text)))


def in_order(words: list[str], line: str) -> bool:
    at = 0
    for word in words:
        found = line.find(word, at)
        if found < 0:
            return False
        at = found + len(word)
    return True


def tells(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        return called in ("UserError", "Problem") or (called == "add" and len(node.args) > 1)
    return isinstance(node, ast.FunctionDef) and TELLS.search(node.name) is not None


def texts(node: ast.AST) -> Iterator[ast.expr]:
    """The texts in a piece of code, docstrings and parts of texts left out."""
    body = node.body[1:] if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) else [node]
    waiting: list[ast.AST] = list(body)
    while waiting:
        found = waiting.pop()
        if isinstance(found, ast.JoinedStr) or (
            isinstance(found, ast.Constant) and isinstance(found.value, str)
        ):
            yield found
        else:
            waiting += ast.iter_child_nodes(found)


def parts(text: ast.expr) -> list[str | None]:
    """A text in pieces, None for what is put in."""
    if isinstance(text, ast.Constant):
        return [text.value]
    assert isinstance(text, ast.JoinedStr)
    return [piece.value if isinstance(piece, ast.Constant) else None for piece in text.values]


def letters(text: ast.expr) -> int:
    return sum(len(piece) for piece in parts(text) if piece)
