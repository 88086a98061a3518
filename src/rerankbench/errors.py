"""Errors that are the user's to mend, as opposed to ours."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in a command, a config or a file: shown without a trace, exit code 2.

    Each problem is one line that says what is wrong, where, with which value, and how to cure it.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))
