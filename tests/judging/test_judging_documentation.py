"""Every command of the page on judging, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from chat_server import chat_server
from collections_on_disk import CAPITALS, table
from rerankbench.commands import judge, report

PAGE = Path(__file__).resolve().parents[2] / "docs" / "judging.md"
MAIN = {"rerankbench-judge": judge.main, "rerankbench-report": report.main}


def test_every_command_of_the_page_runs(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []
    monkeypatch.setattr(judge, "serve", lambda session, port, browser: pages.append(session.judge))
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "docs.jsonl", ("_id", "title", "text"), CAPITALS)
    (tmp_path / "judged.txt").write_text("q1 0 001-1 1\nq1 0 001-2 0\n")
    fences = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for line in "".join(fences).splitlines() if not line.startswith("rerankbench ")]
    assert len(lines) == 8
    with chat_server() as server:
        for line in lines:
            name, *words = shlex.split(line.replace("multirun/DATE/TIME", str(sweep)))
            words = [f"judge.url={server.url}" if word.startswith("judge.url=") else word for word in words]
            assert MAIN[name](words) == 0, line
    assert pages == ["person:me", "person:anna"]
