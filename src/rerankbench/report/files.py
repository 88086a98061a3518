"""The files of a report: report.html, report.md, report.json and the plots."""

from __future__ import annotations

from pathlib import Path

from rerankbench.report import document, html, markdown, plots
from rerankbench.report.findings import Findings
from rerankbench.store import write_atomic

PAGE, MARKDOWN, JSON, PLOTS = "report.html", "report.md", "report.json", "plots"


def write(folder: Path, findings: Findings) -> Path:
    """Write all files, report.json last, so that where it is the others are; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.write(folder / PLOTS, findings)
    write_atomic(folder / MARKDOWN, markdown.markdown(findings).encode())
    write_atomic(folder / PAGE, html.page(findings).encode())
    write_atomic(folder / JSON, document.to_json(findings).encode())
    return folder / PAGE
