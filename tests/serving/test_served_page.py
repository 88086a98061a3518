"""The service's page in a real browser (chromium by Playwright)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from listening import listening
from served_sweep import served

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)

HOSTILE = "<img src=x onerror=alert(1)> What is \x1b[31mthe capital of France?"


@pytest.fixture(scope="module")
def address(swept: Path) -> Iterator[str]:
    with served(swept, "base@12", "no reranking") as service, listening(service) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as made:
        yield made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


def opened(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """A page, and what it complains of or asks for elsewhere."""
    page, wrong = browser.new_context(**options).new_page(), list[str]()
    page.on(
        "console",
        lambda message: (
            wrong.append(f"{message.text} {message.location}") if message.type == "error" else None
        ),
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda asked: None if asked.url.startswith((address, "data:")) else wrong.append(asked.url)
    )
    page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
    page.goto(address)
    return page, wrong


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 360)])
def test_a_query_shows_both_lists_and_can_be_linked(
    browser: Any, address: str, scheme: str, width: int
) -> None:
    page, wrong = opened(browser, address, color_scheme=scheme, viewport={"width": width, "height": 700})
    page.fill("#query", "What is the capital of France?")
    page.press("#query", "Enter")
    page.wait_for_selector("#lists li")
    lists = [page.locator("section").nth(i).locator("li") for i in (0, 1)]
    assert [each.count() for each in lists] == [10, 10]
    ranks = [page.locator("section").nth(i).locator(".rank").all_inner_texts() for i in (0, 1)]
    assert ranks == [[str(i) for i in range(1, 11)]] * 2
    assert (
        {"capital"}
        <= {text.lower() for text in page.locator("mark").all_inner_texts()}
        <= {"capital", "france"}
    )
    assert page.locator(".up, .down").count() > 0
    assert "candidates" in page.inner_text("#status")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    before = page.locator("section").nth(1).locator("li").all_inner_texts()
    link = page.get_attribute("#link a", "href")
    again, wrong_too = opened(browser, address + link)
    again.wait_for_selector("#lists li")
    heads = [text.split(", score")[0] for text in before]
    assert [
        t.split(", score")[0] for t in again.locator("section").nth(1).locator("li").all_inner_texts()
    ] == heads
    assert [each for each in (*wrong, *wrong_too) if not each.startswith(address)] == []


def test_arms_can_be_switched_and_the_way_back_works(browser: Any, address: str) -> None:
    page, wrong = opened(browser, f"{address}?q=moons&arm=base%4012")
    page.wait_for_selector("#lists li")
    page.select_option("#arm", "no reranking")
    page.wait_for_selector("#lists .hint:has-text('no reranking')")
    assert page.locator("section").nth(1).locator(".up, .down").count() == 0
    page.go_back()
    page.wait_for_selector("#lists .hint:has-text('base@12')")
    assert page.input_value("#arm") == "base@12"
    assert [each for each in wrong if not each.startswith(address.partition("?")[0])] == []


def test_markup_is_text(browser: Any, address: str) -> None:
    page, wrong = opened(browser, address)
    page.fill("#query", HOSTILE)
    page.press("#query", "Enter")
    page.wait_for_selector("#lists li")
    assert page.locator("img").count() == 0
    assert "a dialog" not in wrong


def test_with_a_key_it_asks_for_the_key(browser: Any, swept: Path) -> None:
    with served(swept, "base@12", key="s3cret") as service, listening(service) as port:
        page, _ = opened(browser, f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#key", state="visible")
        page.fill("#key", "s3cret")
        page.click("#unlock button")
        page.wait_for_selector("#unlock", state="hidden")
        page.fill("#query", "moons")
        page.press("#query", "Enter")
        page.wait_for_selector("#lists li")
