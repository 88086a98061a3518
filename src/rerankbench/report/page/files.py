"""The files of a report: report.html, report.md, report.json, the plots, and deploy.yaml."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.engine.store.rows import write_atomic
from rerankbench.report import deployment, document
from rerankbench.report.findings import Findings
from rerankbench.report.page import html, markdown, plots
from rerankbench.report.take_home import recipes

PAGE, MARKDOWN, JSON, PLOTS = "report.html", "report.md", "report.json", "plots"


def check(folder: Path) -> None:
    """Raise UserError where no report can be written, leaving nothing behind."""
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not there.is_dir():
            raise UserError(f"--out {folder}: {there} is a file; give a folder, which is made if need be")
        with tempfile.TemporaryFile(dir=there):  # permissions do not tell: root may do all, but not in /proc
            pass
    except OSError as error:
        raise refusal(folder, OSError(error.errno, error.strerror)) from None  # not the file that was tried


def refusal(folder: Path, error: OSError) -> UserError:
    """What the disk said, as the user's mistake, with the file if it is one that people know."""
    file = error.filename if isinstance(error.filename, str) else ""
    known = file and Path(file).parent == folder and not Path(file).name.startswith(".")
    why = f"{file} cannot be written" if known else "nothing can be written there"
    return UserError(f"--out {folder}: {why} ({error.strerror}); choose another folder with --out FOLDER")


def write(folder: Path, findings: Findings) -> Path:
    """Write all files, report.json last, so that where it is the others are; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.write(folder / PLOTS, findings)
    home = recipes(deployment.write(folder, lambda: deployment.of(findings)))
    write_atomic(folder / MARKDOWN, markdown.markdown(findings, home).encode())
    write_atomic(folder / PAGE, html.page(findings, home).encode())
    write_atomic(folder / JSON, document.to_json(findings).encode())
    return folder / PAGE
