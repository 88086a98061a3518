"""Errors that the user can fix: shown as lines, without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

# What is wrong with a setting: it cannot be read; no such option, key; not of the key's type; impossible;
# not given; several values without a sweep; nothing there to read; it does nothing with the other settings.
Kind = Literal["syntax", "option", "key", "type", "value", "missing", "sweep", "place", "idle"]


class Problem(str):
    """One line for people about one mistake, and for programs what it is about.

    `key`: the setting, dotted, or its group; empty for none. `setting`: key and value, as they were given.
    `cure`: the words to type instead, empty where only the user knows. A plain string, so that settings
    may report what is wrong with them as a list of lines; what they leave out is filled in by `of`.
    """

    __slots__ = ("cure", "key", "kind", "setting")

    key: str
    kind: Kind
    setting: str
    cure: str

    def __new__(
        cls, line: str, key: str = "", kind: Kind = "value", setting: str = "", cure: str = ""
    ) -> Problem:
        made = super().__new__(cls, line)
        made.key, made.kind, made.setting, made.cure = key, kind, setting, cure
        return made

    @classmethod
    def of(cls, line: str, key: str = "", kind: Kind = "value") -> Problem:
        """The line itself where it is typed already, else a problem of `key`."""
        return line if isinstance(line, Problem) else cls(line, key, kind)

    def saying(self, line: str) -> Problem:
        """The same problem in other words."""
        return Problem(line, self.key, self.kind, self.setting, self.cure)


class UserError(Exception):
    """A mistake in a command, a config or a file: shown without a trace, exit code 2.

    Each problem is one line that says what is wrong, where, with which value, and how to cure it.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    @property
    def typed(self) -> list[Problem]:
        """The problems with what programs know about them."""
        return [Problem.of(line) for line in self.problems]
