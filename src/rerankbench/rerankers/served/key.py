"""The key of a service: read from the environment when it is needed, and kept out of whatever is shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import MASK, remember_secret

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,100}")


@dataclass(frozen=True)
class Key:
    """A key, the variable that holds it, and the header in which it is sent."""

    variable: str
    header: str
    value: str = field(repr=False)

    @classmethod
    def read(cls, variable: str | None, header: str, group: str = "reranker") -> Key | None:
        """The key that an environment variable holds; None where no variable is named.

        Raises UserError where it holds none, or what no header can hold.
        """
        if variable is None:
            return None
        value = os.environ.get(variable, "").strip()
        if not value:
            raise UserError(f"{group}.key_variable={variable}: the environment has no {variable}; export it")
        if not (value.isascii() and value.isprintable()):
            raise UserError(
                f"{group}.key_variable={variable}: what {variable} holds cannot be a key; "
                "it has line breaks or characters beyond ASCII"
            )
        remember_secret(value)
        return cls(variable, header, value)

    @property
    def headers(self) -> dict[str, str]:
        bearer = self.header.lower() == "authorization"
        return {self.header: f"Bearer {self.value}" if bearer else self.value}

    def masked(self, text: str) -> str:
        """What a server said, without the key that it may repeat."""
        return text.replace(self.value, MASK)


def problem(variable: str) -> str:
    """Why this names no environment variable; empty if it may. It may be the key itself, so never shown."""
    if VARIABLE.fullmatch(variable):
        return ""
    return (
        "give the name of an environment variable in capital letters, such as COHERE_API_KEY; "
        "the key itself belongs in that variable and nowhere else"
    )
