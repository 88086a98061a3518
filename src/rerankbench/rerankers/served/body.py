"""The body of a request: a template whose places are filled with a query, its documents and the model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

QUERY, DOCUMENTS, MODEL = "{query}", "{documents}", "{model}"
PLACE = re.compile(r"\{query\}|\{model\}")


def filled(template: Mapping[str, Any], query: str, documents: Sequence[str], model: str) -> dict[str, Any]:
    """The template with its places filled; keys whose value is null are left out."""
    return {
        name: value
        for name, part in template.items()
        if (value := put_in(part, query, documents, model)) is not None
    }


def put_in(part: Any, query: str, documents: Sequence[str], model: str) -> Any:
    """A part of the template: `{documents}` is the list itself, the others may stand within a text."""
    if isinstance(part, Mapping):
        return filled(part, query, documents, model)
    if isinstance(part, list):
        return [put_in(one, query, documents, model) for one in part]
    if not isinstance(part, str):
        return part
    if part == DOCUMENTS:
        return list(documents)
    if part == MODEL and not model:
        return None
    given = {QUERY: query, MODEL: model}
    return PLACE.sub(lambda match: given[match[0]], part)  # in one go: a query may hold such a place itself


def problem(template: Mapping[str, Any]) -> str:
    """Why a template makes no request; empty if it does."""
    if not template:
        return (
            "it is empty; give what the server is to be sent, such as "
            'reranker.body=\'{query: "{query}", documents: "{documents}"}\''
        )
    texts = list(leaves(template))
    if not any(QUERY in text for text in texts):
        return 'it sends no query; one of its values has to be "{query}"'
    if texts.count(DOCUMENTS) != 1:
        return 'one of its values has to be "{documents}", and nothing else'
    return ""


def leaves(part: Any) -> Iterator[str]:
    """The texts in a template."""
    if isinstance(part, Mapping | list):
        for one in part.values() if isinstance(part, Mapping) else part:
            yield from leaves(one)
    elif isinstance(part, str):
        yield part


def names(part: Any) -> Iterator[str]:
    """The names of all keys in a template."""
    if isinstance(part, Mapping | list):
        yield from map(str, part) if isinstance(part, Mapping) else ()
        for one in part.values() if isinstance(part, Mapping) else part:
            yield from names(one)
