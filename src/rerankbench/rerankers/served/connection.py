"""A server, asked over a few connections: within a time limit, again where it was only busy or broken off."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpx

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.basics.visible import visible
from rerankbench.rerankers.served.address import stays_here
from rerankbench.rerankers.served.key import Key
from rerankbench.rerankers.served.words import words

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504, 529})  # that may be over in a moment
FIRST_WAIT, MOST_WAIT = 0.5, 60.0  # seconds before the first repeat, and at most unless the server says so
PATIENCE = 600.0  # seconds that a server may ask to wait
ANSWER_BYTES, ANSWER_SHARE = 1_000_000, 8  # an answer may have so many, and so many for each byte it is sent
ACCEPTED = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "rerankbench"}


class Trouble(Exception):
    """What may be over in a moment; `wait`: seconds that the server asks for, None where it does not say."""

    def __init__(self, line: str, wait: float | None = None) -> None:
        super().__init__(line)
        self.wait = wait


class Rejected(UserError):
    """The server does not take this request; another one may be taken."""


class Habits(NamedTuple):
    """How a server is asked: so many requests at once, seconds for one, and how often again."""

    concurrency: int
    timeout: float
    retries: int


class Connection:
    """A server at `url`. Threads may share it; a redirect is not followed, the key would go with it.

    What messages name, for those who ask for something else than scores: the group of settings, what to look
    at where there is no such place, how to ask for less at once, and what is kept.
    """

    group = "reranker"
    looked_at = "reranker.url and reranker.path"
    smaller = "lower reranker.documents_per_request"
    kept = "scores that were obtained before are kept"

    def __init__(self, url: str, habits: Habits, key: Key | None = None) -> None:
        self.url, self.habits, self.key = url, habits, key
        self.stopped = threading.Event()
        self.client = httpx.Client(
            headers={**ACCEPTED, **(key.headers if key else {})},
            timeout=httpx.Timeout(habits.timeout, connect=min(habits.timeout, 10.0), pool=None),
            limits=httpx.Limits(
                max_connections=habits.concurrency, max_keepalive_connections=habits.concurrency
            ),
            follow_redirects=False,
            trust_env=not stays_here(url),  # no proxy leads to this machine
        )

    def get(self, path: str) -> Any:
        """What the server answers, as JSON. Raises UserError with its words."""
        return self.parsed(path, self.ask("GET", path, b""))

    def post(self, path: str, body: dict[str, Any], before: Callable[[], None] = lambda: None) -> Any:
        """What the server answers to JSON, as JSON. Raises UserError with its words.

        before: called before each attempt; what it raises ends the attempts.
        """
        sent = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        return self.parsed(path, self.ask("POST", path, sent, before))

    def parsed(self, path: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise UserError(
                f"{self.place(path)}: answered something that is not JSON{self.quoted(data)}"
            ) from None

    def ask(self, method: str, path: str, sent: bytes, before: Callable[[], None] = lambda: None) -> bytes:
        """The answer's bytes, after some repeats if need be. Raises UserError."""
        for attempt in range(self.habits.retries + 1):
            before()
            try:
                return self.once(method, path, sent)
            except Trouble as trouble:
                last = attempt == self.habits.retries
                if last or self.stopped.is_set() or (trouble.wait or 0.0) > PATIENCE:
                    kept = f"; {self.kept}" if sent else ""
                    raise UserError(self.given_up(path, trouble, attempt + 1) + kept) from trouble
                self.stopped.wait(pause(attempt, trouble.wait))
        raise AssertionError("the last attempt returns or raises")

    def once(self, method: str, path: str, sent: bytes) -> bytes:
        """One attempt. Raises Trouble for what may be over soon, UserError for what will not."""
        deadline = time.monotonic() + self.habits.timeout
        headers = {"Content-Type": "application/json"} if sent else {}
        try:
            with self.client.stream(method, self.url + path, content=sent or None, headers=headers) as answer:
                data = self.read(path, answer, deadline, ANSWER_BYTES + ANSWER_SHARE * len(sent))
        except httpx.TimeoutException:
            raise Trouble(self.too_slow) from None
        except httpx.RequestError as error:  # no connection, or one that was cut off
            raise Trouble(f"no answer ({self.cleaned(str(error) or type(error).__name__)})") from None
        except httpx.InvalidURL as error:
            raise UserError(f"{self.group}.url={masked(self.url)}: no address ({visible(error)})") from None
        self.refuse(path, answer, data)
        return data

    def read(self, path: str, answer: httpx.Response, deadline: float, most: int) -> bytes:
        """The whole body. Raises Trouble where it takes too long, UserError where it has no end."""
        data = bytearray()
        for chunk in answer.iter_bytes():
            data += chunk
            if len(data) > most:
                raise UserError(
                    f"{self.place(path)}: answered more than {most:,} bytes, which is more than scores take"
                    f"{self.quoted(bytes(data))}"
                )
            if time.monotonic() > deadline:
                raise Trouble(self.too_slow)
        return bytes(data)

    def refuse(self, path: str, answer: httpx.Response, data: bytes) -> None:
        """Raise for every answer but a success."""
        status, said = answer.status_code, self.quoted(data)
        if answer.is_success:
            return
        if status in BUSY:
            raise Trouble(f"answered {status}{said}", asked_wait(answer.headers.get("retry-after")))
        kind = Rejected if status in (400, 413, 422) else UserError
        raise kind(f"{self.place(path)}: answered {status}{said}{self.cure(status, answer)}")

    def cure(self, status: int, answer: httpx.Response) -> str:
        """What to do about an answer that a repeat would not change."""
        if answer.is_redirect:
            where = self.cleaned(answer.headers.get("location", "nowhere"))
            return f"; it redirects to {where}, which is not followed: give the right {self.group}.url"
        if status in (401, 403) and self.key is None:
            return f"; if it wants a key, name its environment variable: {self.group}.key_variable=NAME"
        if status in (401, 403) and self.key is not None:
            return f"; is the key in {self.key.variable} the right one?"
        if status in (404, 405):
            return f"; look at {self.looked_at}"
        if status in (413, 422):
            return f"; if the request is too large, {self.smaller}"
        return ""

    def given_up(self, path: str, trouble: Trouble, attempts: int) -> str:
        often = f", {attempts} times" if attempts > 1 else ""
        wait = trouble.wait or 0.0
        later = f"; it asks to wait {wait:,.0f} s, run the same command then" if wait > PATIENCE else ""
        return f"{self.place(path)}: {trouble}{often}{later}"

    @property
    def too_slow(self) -> str:
        return (
            f"no whole answer within {self.group}.timeout={self.habits.timeout:g} s "
            f"(raise it, or {self.smaller})"
        )

    def place(self, path: str) -> str:
        return masked(self.url + path)

    def quoted(self, data: bytes) -> str:
        """The server's words behind a colon, empty where it says nothing."""
        said = self.cleaned(words(data))
        return f": {said}" if said else ""

    def cleaned(self, text: str) -> str:
        shown = masked(visible(text))
        return self.key.masked(shown) if self.key else shown

    def stop(self) -> None:
        """Let no request of other threads be repeated from now on."""
        self.stopped.set()

    def resume(self) -> None:
        self.stopped.clear()

    def close(self) -> None:
        self.client.close()


def pause(attempt: int, asked: float | None) -> float:
    """Seconds before the next attempt: twice as many each time, spread out so that threads do not march."""
    own = min(MOST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.75, 1.25)
    return own if asked is None else max(asked, FIRST_WAIT / 10)


def asked_wait(value: str | None) -> float | None:
    """The seconds of a Retry-After, which has seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            return float(value)
        date = parsedate_to_datetime(value)
        return max(0.0, (date - datetime.now(date.tzinfo or UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
