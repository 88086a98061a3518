"""Takes judging-page.png, the page on which a person judges: python pictures.py multirun/DATE/TIME.

Needs chromium and the extra `dev` (Playwright). The sweep has no judgements; what is pressed here is kept in
a folder of its own that is thrown away. --all FOLDER also takes the dark page and the narrow one.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
WIDE, NARROW = {"width": 1280, "height": 560}, {"width": 390, "height": 844}


def take(url: str, target: Path, keys: str, size: dict[str, int], scheme: str = "light") -> None:
    """Press some keys, and take what is then shown."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.goto(url)
        page.locator("#asked").wait_for()
        for key in keys:
            press(page, key)
        page.screenshot(path=target)
        browser.close()


def press(page: Page, key: str) -> None:
    """Press a key, and wait for the next pair, or the end."""
    shown = page.locator("#document").get_attribute("data-pair")
    page.keyboard.press(key)
    page.wait_for_function(
        "shown => document.getElementById('asked').hidden ||"
        " document.getElementById('document').dataset.pair !== shown",
        arg=shown,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "rerankbench.commands.judge", str(words.sweep), "--no-browser"]
        command += ["--judge", "anna", "--folder", scratch]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found = re.search(r"http://\S+/", process.stdout.readline())
            assert found, "rerankbench-judge did not say its address"
            take(found[0], HERE / "judging-page.png", "2013", WIDE)
            if words.all is not None:
                words.all.mkdir(parents=True, exist_ok=True)
                take(found[0], words.all / "dark.png", "1", WIDE, "dark")
                take(found[0], words.all / "narrow.png", "s", NARROW)
                take(found[0], words.all / "narrow-dark.png", "c", NARROW, "dark")
            process.kill()


if __name__ == "__main__":
    main()
