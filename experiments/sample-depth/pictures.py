"""Takes report-light.png and report-dark.png of a report, and mlflow.png of what rerankbench-ui opens.

python pictures.py multirun/DATE/TIME [tracking.uri=ADDRESS]

Needs chromium and the extra `dev` (Playwright). Race the sweep on a quiet machine first, for its costs:
rerankbench-report --race multirun/DATE/TIME. With --mlflow alone the report's pictures stay as they are.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 1200, "height": 1450}
MLFLOW_SIZE = {"width": 1400, "height": 1800}


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield opened
        opened.close()


def take(report: Path) -> None:
    """Screenshots of the top of the page, in both of its colour schemes."""
    with browser() as opened:
        for scheme in ("light", "dark"):
            page = opened.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            page.wait_for_timeout(1000)  # charts that are drawn by a script
            page.screenshot(path=HERE / f"report-{scheme}.png")


def take_mlflow(words: list[str]) -> None:
    """A screenshot of the page that rerankbench-ui opens, nothing typed, MLflow's assistant closed."""
    command = [sys.executable, "-m", "rerankbench.commands.ui", "--no-browser", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, browser() as opened:
        try:
            page = opened.new_page(viewport=MLFLOW_SIZE, color_scheme="light")
            page.goto(next(line for line in server.stdout if line.startswith("compare runs:")).split()[-1])
            page.wait_for_selector(".js-plotly-plot", timeout=60_000)
            assistant = page.get_by_text("MLflow Assistant").first  # stays until closed
            if assistant.is_visible():
                assistant.locator("xpath=ancestor::div[.//button][1]//button").last.click()
            page.wait_for_timeout(4000)  # charts come one by one
            page.screenshot(path=HERE / "mlflow.png")
            shrink(HERE / "mlflow.png")
        finally:
            server.terminate()


def shrink(picture: Path) -> None:
    """A third of the bytes, by as few colours as nobody misses."""
    shown = Image.open(picture).convert("RGB").quantize(colors=96, dither=Image.Dither.NONE)
    shown.save(picture, optimize=True)


if __name__ == "__main__":
    if sys.argv[1] != "--mlflow":
        take(Path(sys.argv[1]) / "report.html")
    take_mlflow(sys.argv[2:])
