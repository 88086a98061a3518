"""Takes report-light.png and report-dark.png of a sweep's report: python pictures.py multirun/DATE/TIME.

Needs chromium and the extra `dev` (Playwright). Race the sweep on a quiet machine first, for its costs:
rerankbench-report --race multirun/DATE/TIME
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 1200, "height": 1450}


def take(report: Path) -> None:
    """Screenshots of the top of the page, in both of its colour schemes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            page.wait_for_timeout(1000)  # charts that are drawn by a script
            page.screenshot(path=HERE / f"report-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]) / "report.html")
