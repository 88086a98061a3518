"""Rerankers behind HTTP: text-embeddings-inference, vLLM, Infinity, paid services, a server of one's own.

What a server is sent and where its scores stand is all in the keys, so that a service is a YAML file.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from rerankbench.basics.complaints import shown
from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.reranker import Origin, Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.served import about, body, key
from rerankbench.rerankers.served.about import Served
from rerankbench.rerankers.served.address import holds_secret, stays_here, url_problems
from rerankbench.rerankers.served.answer import Places
from rerankbench.rerankers.served.connection import Connection, Habits
from rerankbench.rerankers.served.key import Key
from rerankbench.rerankers.served.request import Limits, Request, requests
from rerankbench.rerankers.served.served_scorer import ServedScorer
from rerankbench.rerankers.served.tariff import Tariff, count

log = logging.getLogger(__name__)

BOUNDS = {  # least and most
    "documents_per_request": (1, 100_000),
    "tokens_per_request": (1, 100_000_000),
    "characters_per_text": (1, 100_000_000),
    "concurrency": (1, 256),
    "timeout": (0.001, 86_400),
    "retries": (0, 20),
}

KEY_NAME = re.compile(
    r"(?i)^(.*[-_])?(api[-_]?key|apikey|key|secret|password|authorization|access[-_]?token)$"
)
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # a token of RFC 9110


@dataclass(frozen=True)
class Endpoint(Reranker):
    """Sends queries with their documents to a server, as many documents at once as it takes.

    url: where the server listens, http://HOST:PORT or https://HOST.

    path: where it reranks, below url.

    model: the model that is asked for; null: the one that the server says it serves.

    body: what a request holds; its values "{query}", "{documents}" and "{model}" are filled in.

    results: where the list of scores stands in an answer, names with dots between; empty: the answer itself.

    index: in an entry of the list, where the document's number stands; null: entries are in order.

    score: in an entry of the list, where its score stands; empty: the entry itself.

    about: where the server says what it serves, below url; null: it is not asked.

    about_kept: which of the things that it says there make it another model.

    documents_per_request: most documents in one request.

    tokens_per_request: most tokens in one request, estimated as a quarter of the bytes; null: no limit.

    characters_per_text: longer texts are cut; null: none is.

    concurrency: most requests on their way at once, also when it is timed.

    timeout: seconds that one request may take.

    retries: how often a request is repeated where the server was busy or the connection broke.

    key_variable: the environment variable that holds the key; null: no key is sent.

    key_header: the header in which it is sent; in Authorization, as Bearer.

    billed: whether asking costs money; then nothing is asked only to time it.

    price_per_request, price_per_million_tokens: what asking costs, in the currency of report.price_per_hour.

    price_of: the model whose prices these are; null: whatever model is asked for.
    """

    url: str = "???"
    path: str = "/rerank"
    model: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    results: str = "results"
    index: str | None = "index"
    score: str = "relevance_score"
    about: str | None = None
    about_kept: list[str] = field(default_factory=list)
    documents_per_request: int = 32
    tokens_per_request: int | None = None
    characters_per_text: int | None = None
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 5
    key_variable: str | None = None
    key_header: str = "Authorization"
    billed: bool = False
    price_per_request: float | None = None
    price_per_million_tokens: float | None = None
    price_of: str | None = None

    family: ClassVar[str] = "endpoint"
    FREE: ClassVar[frozenset[str]] = Reranker.FREE | {
        "model", "about", "about_kept", "documents_per_request", "tokens_per_request", "concurrency",
        "timeout", "retries", "key_variable", "key_header", "billed", "price_per_request",
        "price_per_million_tokens", "price_of",
    }  # fmt: skip

    # --- settings ---

    def problems(self) -> list[str]:
        found = [f"reranker.{line}" for line in (*self.address_problems(), *self.body_problems())]
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                found.append(f"reranker.{name}={value}: choose between {least} and {most:,}")
        for name in ("price_per_request", "price_per_million_tokens"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                found.append(f"reranker.{name}={value}: give what asking costs, 0 or more, or null")
        if self.key_variable is not None and (problem := key.problem(self.key_variable)):
            found.append(f"reranker.key_variable: {problem}")
        if not HEADER.fullmatch(self.key_header):
            found.append(f"reranker.key_header={shown(self.key_header)}: this cannot be the name of a header")
        return found

    def address_problems(self) -> list[str]:
        """Why no server can be asked there."""
        found = [f"url={shown(self.url)}: {why}" for why in url_problems(self.url)]
        for name in ("path", "about"):
            value = getattr(self, name)
            if value is None:
                continue
            if value and not value.startswith("/"):
                found.append(f"{name}={shown(value)}: give a path that begins with /")
            elif holds_secret(value):
                found.append(f"{name} holds a key; give it by reranker.key_variable=NAME")
        return found

    def body_problems(self) -> list[str]:
        """Why no request can be made."""
        found = []
        if problem := body.problem(self.body):
            found.append(f"body: {problem}")
        found += [
            f"body.{name}: a key in a config would be logged; send it by reranker.key_variable=NAME"
            for name in dict.fromkeys(body.names(self.body))
            if KEY_NAME.search(name)
        ]
        needs = body.MODEL in body.leaves(self.body)
        if self.model is not None and not (self.model.strip() and self.model.isprintable()):
            found.append(f"model={self.model!r:.60}: give a plain name")
        elif self.model is None and self.about is None and needs:
            found.append("model is needed: add reranker.model=NAME, as the server calls it")
        return found

    @property
    def base(self) -> str:
        return self.url.rstrip("/")

    # --- what it is ---

    def origin(self, cache_dir: Path) -> Origin:
        parameters = round(self.parameters_m * 1e6) or None
        if self.about is None:
            return about.unasked(self.model or urlsplit(self.base).netloc, parameters)
        connection = self.connection(retries=min(self.retries, 1))  # one that is not there is told soon
        try:
            answer = connection.get(self.about)
        except UserError as error:
            raise UserError(f"{error}; is the server running?") from error
        finally:
            connection.close()
        return about.served(answer, connection.place(self.about), self.model, self.about_kept, parameters)

    def identity(self, origin: Origin, precision: str) -> dict[str, Any]:
        """The address, the request and what the server says of itself; no arithmetic of this machine."""
        asked = self.settings() | {"url": self.base}
        return {"family": self.family, "origin": origin.identity, **asked}

    def rehearse(self, origin: Origin, hardware: Hardware) -> None:
        Key.read(self.key_variable, self.key_header)

    def load(self, origin: Origin, hardware: Hardware) -> Scorer:
        model = origin.model if isinstance(origin, Served) else self.model or ""
        limits = self.limits(origin.most if isinstance(origin, Served) else None)

        def made(request: Request) -> dict[str, Any]:
            return body.filled(self.body, request.query, request.documents, model)

        places = Places(self.results, self.index, self.score)
        return ServedScorer(self.connection(), self.path, made, places, limits)

    def connection(self, retries: int | None = None) -> Connection:
        """Raises UserError where the key is not there."""
        again = self.retries if retries is None else retries
        own = Key.read(self.key_variable, self.key_header)
        if own is not None and self.base.startswith("http://") and not stays_here(self.base):
            warn_of_plain(self.base)
        return Connection(self.base, Habits(self.concurrency, self.timeout, again), own)

    def limits(self, most: int | None = None) -> Limits:
        """What one request may hold, given how many documents the server says it takes."""
        documents = min(self.documents_per_request, most or self.documents_per_request)
        return Limits(documents, self.tokens_per_request, self.characters_per_text)

    # --- what it costs ---

    @property
    def paid(self) -> bool:
        return self.billed or Tariff(self.price_per_request, self.price_per_million_tokens).known

    @property
    def tariff(self) -> Tariff:
        """The prices, as far as they are those of this model."""
        if self.price_of not in (None, self.model):
            return Tariff()
        return Tariff(self.price_per_request, self.price_per_million_tokens)

    def price(self, queries: Sequence[str], documents: Sequence[str]) -> float | None:
        if not self.tariff.known:
            return None
        return self.tariff.price(*count(requests(queries, documents, self.limits())))

    def bill(self, queries: Sequence[str], documents: Sequence[str]) -> str:
        asked, tokens = count(requests(queries, documents, self.limits()))
        line = f"{asked:,} request{'s'[: asked != 1]} with about {tokens:,} tokens"
        if not self.paid:
            return line
        return f"{line}, {self.money(asked, tokens)}"

    def money(self, asked: int, tokens: int) -> str:
        if self.tariff.known:
            return f"for about {self.tariff.price(asked, tokens):,.4g} by the prices in the config"
        give = "give reranker.price_per_request=PRICE or reranker.price_per_million_tokens=PRICE"
        if self.price_of not in (None, self.model):
            return f"at a price that is known for {self.price_of} only; {give}, with reranker.price_of=null"
        return f"at a price that is not known; {give}"

    @property
    def served(self) -> dict[str, Any]:
        return {
            "url": masked(self.base),
            "key_variable": self.key_variable,
            "concurrency": self.concurrency,
            "documents_per_request": self.documents_per_request,
        }


@cache
def warn_of_plain(url: str) -> None:
    """Say once that a key can be read on its way."""
    log.warning("reranker.url=%s: the key goes there unencrypted; use https://", url)
