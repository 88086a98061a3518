"""Secrets of addresses, whatever characters they hold and however libraries write them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rerankbench.basics import complaints, masking
from rerankbench.basics.masking import MASK, mask_address, masked, masked_yaml, remember


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    masking._known.clear()
    yield
    masking._known.clear()


often = settings(max_examples=60, deadline=None)
# What people put into passwords: blanks, quotes, signs of addresses, letters beyond ASCII.
secrets = st.text("aZ7 '\"@:/?#&;=%+\\!$é|*,[]{}", min_size=1, max_size=20).map(lambda text: f"s3{text}cr3t")
places = st.sampled_from(["host", "host:5000", "127.0.0.1:9/api", "host/a/b.db"])
schemes = st.sampled_from(["http", "https", "postgresql", "mysql+pymysql", "sqlite"])
written = st.sampled_from(
    [str, quote, lambda text: quote(text, safe=""), lambda text: text.replace(" ", "+")]
)


def ways(address: str, secret: str) -> list[str]:
    """How an address turns up: alone, in messages of libraries, in Python, JSON and YAML."""
    word = f"tracking.uri='{address}'"
    return [
        address, word, f"error: cannot reach {address}: refused", f"Invalid URL {address!r}",
        yaml.safe_dump({"uri": address, "words": [word]}, width=10_000), json.dumps([address]),
        f"url: /{secret}" if len(secret) >= masking.LONG else "", quote(address, safe=masking.IN_ADDRESSES),
        " ".join(address.split()),
    ]  # fmt: skip


@given(schemes, secrets, places, written)
@example("http", "s3 cr3t", "host", str)
@example("http", "s3'cr3t", "host", str)
@example("http", "s3@cr3t", "host", str)
@example("http", "s3/x#y?z@cr3t", "host", str)
@often
def test_a_password_is_found_wherever_it_stands(
    scheme: str, secret: str, place: str, write: Callable[[str], str]
) -> None:
    masking._known.clear()
    address = f"{scheme}://joe:{write(secret)}@{place}"
    remember(f"tracking.uri={address}")
    for text in ways(address, write(secret)):
        shown = masked(text)
        assert "cr3t" not in shown, (text, shown)
        assert "joe" not in shown
        assert masked(shown) == shown
    assert place in masked(address)


@given(
    st.sampled_from("?&#;"),
    st.sampled_from(["token", "api_key", "password", "access_token", "%74oken"]),
    secrets,
)
@often
def test_a_token_is_found_wherever_it_stands(mark: str, name: str, secret: str) -> None:
    masking._known.clear()
    secret = "".join(letter for letter in secret if letter not in "?&#;@=")
    address = f"http://host:5000/a?x=1{mark}{name}={secret}"
    remember(address)
    for text in ways(address, secret):
        assert "cr3t" not in masked(text), text
    assert masked(address) == f"http://host:5000/a?x=1{mark}{name}={MASK}"


@given(secrets)
@often
def test_what_is_no_address_is_masked_where_an_address_belongs(secret: str) -> None:
    masking._known.clear()
    for value in (f"joe:{secret}@host", f"http:/joe:{secret}@host", f"http:joe:{secret}@host:5000"):
        remember(f"tracking.uri={value}")
        assert "cr3t" not in masked(f"error: tracking.uri={value}: give sqlite:///path")


@given(schemes, secrets, places)
@often
def test_saved_configs_stay_yaml_and_hold_no_secret(scheme: str, secret: str, place: str) -> None:
    masking._known.clear()
    secret = secret.replace("${", "$")  # which is no text in a config
    address = f"{scheme}://joe:{secret}{' more' * 30}@{place}"
    config = {"tracking": {"uri": address, "kind": "mlflow"}, "depth": 3, "open": "???", "now": "${now:%Y}"}
    for tree in (config, [f"tracking.uri='{address}'", "depth=3"]):
        text = masked_yaml(OmegaConf.to_yaml(OmegaConf.create(tree)))
        assert "cr3t" not in text
        assert "more more" not in text
        read = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        assert read == (config | {"tracking": {"uri": f"{scheme}://{MASK}@{place}", "kind": "mlflow"}}
                        if isinstance(tree, dict) else [read[0], "depth=3"])  # fmt: skip


@given(st.text(max_size=80))
@often
def test_what_holds_no_address_stays_as_it_is(text: str) -> None:
    masking._known.clear()
    remember(text.replace("@", "").replace("?", "").replace("#", "").replace("&", "").replace(";", ""))
    told = "minilm@100 bge-small-en c://x:/y test depth=5"
    assert masked(told) == told


def test_words_that_could_stand_anywhere_are_masked_in_the_address_only() -> None:
    remember("tracking.uri=http://joe:base@host")
    assert masked("base@100 at http://joe:base@host/x") == f"base@100 at http://{MASK}@host/x"


def test_a_value_is_masked_before_it_is_cut() -> None:
    address = f"http://joe:{'s3cr3t' * 40}@host"
    assert "cr3t" not in complaints.shown(address)


def test_every_log_line_is_masked_whichever_formatter_writes_it(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    masking.install()
    remember("tracking.uri=http://joe:s3 cr3t@host")
    try:
        logging.getLogger("x").warning("no answer of %s", "http://joe:s3 cr3t@host")
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == [f"no answer of http://{MASK}@host"]


def test_escapes_are_undone() -> None:
    remember("http://joe:p%40ss%20w0rd@host")
    assert unquote("p%40ss%20w0rd") not in masked("login failed for p@ss w0rd")
    assert mask_address("http://host/a#section") == "http://host/a#section"
