"""A prompt around a query and a document, as the tokens that a whole text of it would be.

A prompt is a list of texts with `{query}`, `{document}` and `{instruction}` in them. Each text is tokenized
by itself, as model cards do with prefixes and suffixes; within one, tokens may join characters of the prompt
and of what stands in it, such as the space before a word.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.tokens import Tokens, token_ids

PLACE = re.compile(r"\{(query|document|instruction)\}")
# Beginnings and ends of texts of many kinds, by which it is seen where tokens never cross.
PROBES = (
    *("", " ", "\n", "a", "the day is", "What is it?", "is it so? ", "\n\nnew lines \n", "12 and 34", "7"),
    *(
        "(so)",
        "'s late",
        "«ja»...",
        "北京是哪里？",
        "。",
        "e\u0301",
        "\u0301",
        "🙂",
        "\ttab\t",
        "<b>",
        ":",
        "A:",
    ),
)
# The tokenizer's own chat template with the roles query and document, and the same with what opens an answer.
CHAT, CHAT_OPENED = "chat", "chat, add_generation_prompt"
CHATS = (CHAT, CHAT_OPENED)
EMPTY = np.empty(0, np.int32)
JOINED = "the tokenizer ({}) joins the prompt with the texts in it"


def template_problems(template: Any) -> list[str]:
    """What is wrong with `reranker.template`: a text, or a list of texts, with each place exactly once."""
    if template in CHATS:
        return []
    texts = [template] if isinstance(template, str) else template
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return ["reranker.template: give a text, or a list of texts that are tokenized one by one"]
    named = [name for text in texts for name in PLACE.findall(text)]
    return [
        f"reranker.template: has {{{name}}} {named.count(name)} times; write it exactly once"
        for name in ("query", "document")
        if named.count(name) != 1
    ]


def has_roles(folder: Path) -> bool:
    """Whether a folder's chat template has the roles of a query and a document, as for rerankers alone."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
    else:
        text = str(json_object(folder / "tokenizer_config.json").get("chat_template", ""))
    return all(re.search(rf"""["']{role}["']""", text) for role in ("query", "document"))


def prompt_texts(tokenizer: Any, template: Any, instruction: str) -> Any:
    """The prompt's texts: those given, or what the tokenizer's chat template makes. Raises UserError."""
    return chat_text(tokenizer, template, instruction) if template in CHATS else template


def chat_text(tokenizer: Any, template: str, instruction: str) -> str:
    """The prompt that a tokenizer's chat template is. Raises UserError where it is of other roles."""
    messages = [{"role": name, "content": f"{{{name}}}"} for name in ("query", "document")]
    system = [{"role": "system", "content": "{instruction}"}] if instruction else []
    try:
        opened = template == CHAT_OPENED
        text = str(
            tokenizer.apply_chat_template([*system, *messages], tokenize=False, add_generation_prompt=opened)
        )
    except Exception as error:  # whatever a template raises
        raise UserError(
            f"reranker.template=chat: the model's chat template fails ({reason(error)})"
        ) from error
    if text in CHATS or template_problems(text):
        raise UserError(
            "reranker.template=chat: the model's chat template has no places for the roles query and "
            "document; give the prompt itself"
        )
    return text


@dataclass(frozen=True)
class Slot:
    """What stands around a text within the piece that is tokenized as one."""

    lead: str
    trail: str

    def around(self, text: str) -> str:
        return self.lead + text + self.trail


@dataclass(frozen=True)
class PromptTemplate:
    """The fixed tokens before, between and behind the two texts, and how these are tokenized themselves.

    `query_first`: whether the query stands before the document.
    """

    before: Tokens
    between: Tokens
    after: Tokens
    query: Slot
    document: Slot
    query_first: bool

    @classmethod
    def of(cls, tokenizer: Any, template: str | Sequence[str], instruction: str) -> PromptTemplate:
        """Find where the prompt's tokens end and a text's begin.

        Raises ValueError where they cannot be told apart, so that the prompt's tokens depend on the texts.
        """
        texts = [template] if isinstance(template, str) else list(template)
        texts = [text.replace("{instruction}", instruction) for text in texts]
        names = [name for text in texts for name in PLACE.findall(text)]
        parts = [one for text in texts for one in split(tokenizer, text)]
        i, j = (place for place, part in enumerate(parts) if isinstance(part, Slot))
        first, second = (part for part in parts if isinstance(part, Slot))
        query, document = (first, second) if names[0] == "query" else (second, first)
        found = cls(
            joined(tokenizer, parts[:i]),
            joined(tokenizer, parts[i + 1 : j]),
            joined(tokenizer, parts[j + 1 :]),
            query,
            document,
            query_first=query is first,
        )
        found.verify(tokenizer, texts)
        return found

    def verify(self, tokenizer: Any, texts: Sequence[str]) -> None:
        """Raise ValueError unless whole texts are these tokens, for probes of many kinds."""
        queries, documents = (
            token_ids(tokenizer, [slot.around(probe) for probe in PROBES], None, special=False)
            for slot in (self.query, self.document)
        )
        for i, j in itertools.product(range(len(PROBES)), repeat=2):
            filled = [filled_in(text, PROBES[i], PROBES[j]) for text in texts]
            whole = np.concatenate(token_ids(tokenizer, filled, None, special=False))
            if not np.array_equal(whole, self.join(queries[i], documents[j])):
                raise ValueError(JOINED.format(type(tokenizer).__name__))

    def join(self, query: Tokens, document: Tokens) -> Tokens:
        first, second = (query, document) if self.query_first else (document, query)
        return np.concatenate([self.before, first, self.between, second, self.after])


def joined(tokenizer: Any, texts: Sequence[Any]) -> Tokens:
    """The tokens of fixed texts, each by itself."""
    return np.concatenate([EMPTY, *token_ids(tokenizer, [one for one in texts if one], None, special=False)])


def filled_in(text: str, query: str, document: str) -> str:
    values = {"query": query, "document": document, "instruction": "{instruction}"}
    return PLACE.sub(lambda match: values[match[1]], text)


def split(tokenizer: Any, text: str) -> list[str | Slot]:
    """The parts of one text of a prompt: fixed texts, and slots with what belongs to them.

    Raises ValueError where the texts in it would touch.
    """
    first, *literals = PLACE.split(text)[::2]
    lead = shortest_lead(tokenizer, first) if literals else ""
    found: list[str | Slot] = [first.removesuffix(lead)]
    for place, literal in enumerate(literals):
        last = place == len(literals) - 1
        trail, behind = shortest_trail(tokenizer, literal), ""
        if not last:
            behind = shortest_lead(tokenizer, literal)
            if len(trail) + len(behind) > len(literal):
                raise ValueError(JOINED.format(type(tokenizer).__name__))
        found += [Slot(lead, trail), literal[len(trail) : len(literal) - len(behind)]]
        lead = behind
    return found


def shortest_lead(tokenizer: Any, literal: str) -> str:
    """The shortest end of `literal` whose tokens, with a text behind it, leave those before it alone."""
    return next(
        literal[at:]
        for at in reversed(range(len(literal) + 1))
        if all(apart(tokenizer, literal[:at], literal[at:] + probe) for probe in PROBES)
    )


def shortest_trail(tokenizer: Any, literal: str) -> str:
    """The shortest beginning of `literal` whose tokens, with a text before it, leave the rest alone."""
    return next(
        literal[:at]
        for at in range(len(literal) + 1)
        if all(apart(tokenizer, probe + literal[:at], literal[at:]) for probe in PROBES)
    )


def apart(tokenizer: Any, left: str, right: str) -> bool:
    """Whether two texts, one behind the other, are the tokens of both, whatever the vocabulary."""
    if not left or not right:
        return True
    whole, first, second = token_ids(tokenizer, [left + right, left, right], None, special=False)
    same = np.array_equal(whole, np.concatenate([first, second]))
    return same and words(tokenizer, left + right) == words(tokenizer, left) + words(tokenizer, right)


def words(tokenizer: Any, text: str) -> list[str]:
    """What tokens never join, of a tokenizer that cuts texts into words first; otherwise nothing."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    cutter = getattr(backend, "pre_tokenizer", None)
    if cutter is None or len(cutter.pre_tokenize_str(normal(backend, "to be"))) < 2:
        return []
    added = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    pieces = re.split("(" + "|".join(map(re.escape, added)) + ")", text) if added else [text]
    found = []
    for piece in filter(None, pieces):
        cut = [(piece, None)] if piece in added else cutter.pre_tokenize_str(normal(backend, piece))
        found += [word for word, _ in cut]
    return found


def normal(backend: Any, text: str) -> str:
    return str(backend.normalizer.normalize_str(text)) if backend.normalizer else text
