"""The report and MLflow's comparison of a real sweep, in a real browser (chromium by Playwright)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from commands import run, store
from rerankbench.report.arms.runs import find
from rerankbench.report.findings import find_out
from rerankbench.report.page import files
from rerankbench.report.race.record import Cell
from rerankbench.report.settings import Report
from scored_runs import drawn, first_scores, scores_like, write_scored
from simulated_runs import write_race

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_MS = 60_000


# What MLflow's own pages always complain about: a server without accounts knows no user, and a browser
# reports charts that change size while they are laid out.
MLFLOWS_OWN = ("/mlflow/users/current", "ResizeObserver loop")


class Watched:
    """A browser page that remembers what it complains about and what it asks for elsewhere."""

    def __init__(self, page: playwright.Page, known: tuple[str, ...] = ()) -> None:
        self.page, self.known = page, known
        self.complaints: list[str] = []
        self.outside: list[str] = []
        page.on("console", lambda m: self.note(m.type == "error", f"{m.text} {m.location.get('url', '')}"))
        page.on("pageerror", lambda error: self.note(True, str(error)))
        page.on("request", lambda request: self.asked(request.url))

    def note(self, bad: bool, text: str) -> None:
        if bad and not any(words in text for words in self.known):
            self.complaints.append(text)

    def asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
            self.outside.append(url)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """Two tiny models over five queries of the sample, tracked; the sweep's folder, the store beside it."""
    root = tmp_path_factory.mktemp("sweep")
    chosen = ",".join(str(models / name) for name in ("base", "large"))
    words = [
        "-m",
        "first_stage=bm25",
        "reranker=base",
        f"reranker.model={chosen}",
        "dataset.limit_queries=5",
        "candidates=20",
        "cutoffs=[1,10]",
        "device=cpu",
        "precision=fp32",
        "report.race.seconds=0",
        f"cache_dir={root / 'cache'}",
        f"tracking.uri={store(root)}",
        f"hydra.sweep.dir={root / 'sweep'}",
    ]
    assert run(*words) == 0
    assert (root / "sweep" / "report.html").is_file()
    return root / "sweep"


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two rerankers whose scores and times are drawn at random, one named to do harm."""
    folder = tmp_path_factory.mktemp("raced")
    pool = drawn(30, 20, 1)
    times = {Cell("stage"): np.full(30, 5.0)}
    for number, (name, slow) in enumerate((("minilm", 1.0), ("<b>large", 9.0))):
        scores = {None: scores_like(pool, number, 1.0 + number)}
        write_scored(folder / str(number), name, pool, first_scores(pool, 3), scores)
        times |= {Cell("stage", name, None, depth): np.full(30, slow * depth) for depth in (5, 10, 20)}
    files.write(folder, find_out(find([folder]), Report(), write_race(folder, times)))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light")])
def test_the_report_shows_verdict_curves_and_table(
    sweep: Path, browser: playwright.Browser, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    seen = Watched(context.new_page())
    page = seen.page
    page.goto((sweep / "report.html").as_uri())
    assert page.locator("#verdict h1").is_visible()
    assert page.locator("#verdict").inner_text().count("5 judged queries") == 1
    for plot in ("depth", "cost", "headroom", "queries"):
        assert page.locator(f"#plot-{plot} svg").first.bounding_box()["height"] > 100
    ink = page.locator("#plot-depth svg text").first.evaluate("node => getComputedStyle(node).fill")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert contrast(ink, paper) > 4.5
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert (seen.complaints, seen.outside) == ([], [])
    context.close()


def test_the_table_of_arms_is_sorted_by_keyboard(sweep: Path, browser: playwright.Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto((sweep / "report.html").as_uri())
    values = "[...document.querySelectorAll('#arms td:nth-child(2)')].map(cell => Number(cell.dataset.value))"
    best_first = page.evaluate(values)
    assert len(best_first) > 5  # two models at depths 10 and 20, no reranking, and arrangements of them
    assert best_first == sorted(best_first, reverse=True)
    page.locator("#arms th:nth-child(2) button").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(values) == sorted(best_first)
    assert page.locator("#arms th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    context.close()


def test_the_sliders_move_the_verdict_to_answers_that_were_computed_before(
    raced: Path, browser: playwright.Browser
) -> None:
    found = json.loads((raced / "report.json").read_text())
    context = browser.new_context(offline=True)
    seen = Watched(context.new_page())
    page = seen.page
    page.goto((raced / "report.html").as_uri())
    answer = page.locator("#answer")
    assert answer.inner_text() == found["verdict"]["sentence"]
    page.locator("#margin").press("End")
    widest = max(each["margin"] for each in found["answers"])
    told = next(each for each in found["answers"] if each["margin"] == widest and each["budget"] is None)
    assert answer.inner_text() == told["sentence"]
    assert page.locator("#margin-said").inner_text() == f"{widest:g} nDCG@10"
    marked = page.locator("#arms tbody.chosen th").evaluate_all("all => all.map(each => each.dataset.value)")
    assert marked == ([told["arm"]] if told["arm"] else [])
    page.locator("#budget").select_option("latency_p50_ms")
    page.locator("#bound").press("Home")
    bound = min(each["bound"] for each in found["answers"] if each["budget"] == "latency_p50_ms")
    assert answer.inner_text().startswith(f"Within {bound:,.4g} ms (median): ")
    assert (seen.complaints, seen.outside) == ([], [])
    context.close()


def test_points_and_rows_are_marked_together_and_filtered_together(
    raced: Path, browser: playwright.Browser
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto((raced / "report.html").as_uri())
    points = "#chart .points_marks path"
    page.locator(points).first.wait_for()
    before = page.locator(points).count()
    page.locator(points).last.hover()
    assert "as good: " in page.locator("#tip").inner_text()
    page.locator(points).last.click()
    row = page.locator("#arms tbody.marked")
    name = row.locator("th").get_attribute("data-value")
    assert page.locator("#tip").inner_text().startswith(f"{name}\n")
    assert page.locator("#chart .marked_ring_marks path").count() == 1
    row.locator("td").nth(1).click()
    assert page.locator("#chart .marked_ring_marks path").count() == 0
    page.locator("#filters select[data-key=depth]").select_option("10")
    assert 0 < page.locator(points).count() < before
    with page.expect_download() as download:
        page.locator("#csv").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("name,kind,stage,reranker,depth,layer,nDCG@10,low,high")
    depths = {line.split(",")[4] for line in lines[1:]}
    assert depths == {"0", "10"}
    context.close()


def test_mlflow_opens_on_the_comparison_of_the_sweep(sweep: Path, browser: playwright.Browser) -> None:
    with ui(sweep.parent / "mlflow.db") as url:
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        seen = Watched(context.new_page(), MLFLOWS_OWN)
        page = seen.page
        page.goto(url)
        trace = page.locator(".js-plotly-plot .scatterlayer .trace").first
        trace.wait_for(timeout=START_MS, state="attached")
        assert page.get_by_text("base@20").count() > 0, "run names do not say the arm"
        search = page.get_by_placeholder("Search metric charts")
        assert search.input_value().startswith("^(ndcg_at_10|depth/ndcg_at_10")
        assert page.get_by_text("2 matching runs").count() == 1, "the report is no run among the others"
        assert (seen.complaints, seen.outside) == ([], [])
        context.close()


def test_a_sweep_in_mlflow_says_what_was_found_by_whom_and_with_what(sweep: Path) -> None:
    from mlflow.tracking import MlflowClient

    found = json.loads((sweep / "report.json").read_text())
    client = MlflowClient(f"sqlite:///{sweep.parent / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("rerankbench").experiment_id])
    (own,) = (each for each in runs if each.data.tags["kind"] == "report")
    assert own.data.tags["verdict"] == found["verdict"]["sentence"]
    assert own.data.tags["mlflow.note.content"].startswith("## ")
    assert {"config.yaml", "report.html", "plots"} <= {a.path for a in client.list_artifacts(own.info.run_id)}
    others = [each for each in runs if each is not own]
    assert len({each.info.run_name for each in others}) == len(others) == 2
    for each in runs:
        assert each.data.tags["mlflow.source.name"].startswith("rerankbench ")
        assert each.data.tags["mlflow.user"]
        assert each.info.status == "FINISHED"
    for each in others:
        assert each.data.metrics["progress"] == 1.0
        assert "| nDCG@10 |" in each.data.tags["mlflow.note.content"]


class ui:
    """The server of `rerankbench-ui`, as its address, while the block runs."""

    def __init__(self, database: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        words = [f"tracking.uri=sqlite:///{database}", "--no-browser", "--port", port]
        self.command = [sys.executable, "-m", "rerankbench.commands.ui", *words]

    def __enter__(self) -> str:
        self.server = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.server.stdout is not None
        for line in self.server.stdout:
            if line.startswith("compare runs: "):
                return line.removeprefix("compare runs: ").strip()
        raise AssertionError("rerankbench-ui ended without an address")

    def __exit__(self, *error: object) -> None:
        self.server.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.server.wait(timeout=20)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two CSS colours such as rgb(1, 2, 3)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(value) / 255 for value in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_experiment_gives_the_same_report_as_the_folder(sweep: Path, tmp_path: Path) -> None:
    from rerankbench.commands.report import main

    uri = f"tracking.uri=sqlite:///{sweep.parent / 'mlflow.db'}"
    assert main(["rerankbench", uri, "--out", str(tmp_path)]) == 0
    ours, theirs = (json.loads((folder / "report.json").read_text()) for folder in (tmp_path, sweep))
    assert ours["verdict"] == theirs["verdict"]
    assert [arm["mean"] for arm in ours["arms"]] == [arm["mean"] for arm in theirs["arms"]]
