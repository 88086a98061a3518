"""docs/from-documents.md, word for word: its Python and its commands, in their order."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from commands import own_options
from rerankbench.commands import judge, report
from rerankbench.commands import run as runner
from rerankbench.commands.check import command as check_command
from rerankbench.commands.serve import deployments
from rerankbench.judging.session import Session

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "from-documents.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(python|sh)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
QUERIES = {"q1": "capital of France", "q2": "height of Mont Blanc", "q3": "capital of Spain"}


def judged_all(session: Session, *_: object) -> None:
    """A person who grades every pair of the page by a word in it."""
    from rerankbench.judging.record import JUDGED, Answer

    while pairs := session.next(5):
        session.record.add_all([Answer(*p, session.judge, JUDGED, 3 * (p[1][-1] == "0")) for p in pairs])


def test_the_page_goes_from_documents_to_a_verdict(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judge, "serve", judged_all)
    Path("my-documents").mkdir()
    for country, capital in {"France": "Paris", "Spain": "Madrid"}.items():
        text = f"{capital} is the capital of {country}.\n\nThe height of a mountain.\n\nNo capital.\n"
        Path("my-documents", f"{country}.txt").write_text(text)
    Path("queries.csv").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in QUERIES.items()))
    own = own_options(models, tmp_path, **{
        "minilm": f"model: {models / 'minilm'}\n",
        "minilm-bi-encoder": f"family: bi-encoder\nmodel: {models / 'bge-small-en'}\n",
    })  # fmt: skip
    more = ["tracking=none", "device=cpu", "report.race.seconds=0", f"cache_dir={tmp_path / 'cache'}"]
    assert [kind for kind, _ in FENCES] == ["python", "sh", "sh", "sh", "sh", "sh"]
    exec(FENCES[0][1], {})
    assert json.loads(Path("docs.jsonl").read_text().splitlines()[0])["_id"] == "France-0"
    _, check, sweep, asked, told, served = (shlex.split(block) for _, block in FENCES)
    assert check_command.main(check[1:]) == 0
    Path("options", "reranker").symlink_to(own / "reranker")  # tiny models for those that the page names
    assert runner.main([*sweep[1:], *more]) == 0
    assert "judge      rerankbench-judge my-sweep" in capsys.readouterr().out
    assert judge.main(asked[1:]) == 0
    assert "settled" in capsys.readouterr().out
    assert report.main(told[1:]) == 0
    assert json.loads(Path("my-sweep", "report.json").read_text())["verdict"]["sentence"]
    assert "by anna" in Path("my-sweep", "report.md").read_text()
    assert deployments(Path(served[1]), [])[0].steps
