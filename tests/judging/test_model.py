"""A language model as the judge, at a server that answers as OpenAI's does or fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_server import TROUBLES, ChatServer, chat_server
from rerankbench.basics.errors import UserError
from rerankbench.commands import judge, report
from rerankbench.judging.language_model.budget import Budget, Spent
from rerankbench.judging.language_model.chat import Chat
from rerankbench.judging.language_model.model import filled, grade_in
from rerankbench.judging.language_model.model_settings import ModelSettings, umbrela
from rerankbench.judging.record import UNCLEAR, Record
from unjudged_sweep import grade, texts


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        made.say = lambda prompt: f"##final score: {grade(prompt) - umbrela().count('exact')}"
        yield made


def settings(server: ChatServer, **more: object) -> ModelSettings:
    return ModelSettings(url=server.url, model="mine/judge", retries=2, timeout=5.0, **more)  # type: ignore[arg-type]


def judge_it(sweep: Path, server: ChatServer, *words: str) -> int:
    return judge.main(
        [str(sweep), f"judge.url={server.url}", "judge.model=mine/judge", "judge.retries=2", *words]
    )


def test_a_model_judges_until_it_is_settled_and_reports_say_that_it_did(
    sweep: Path, server: ChatServer
) -> None:
    assert judge_it(sweep, server) == 0
    for line in (sweep / "judging" / "qrels.txt").read_text().splitlines():
        _, who, document, value = line.split()
        assert (who, int(value)) == ("model:mine/judge", grade(texts()[document]))
    assert server.busiest <= 4
    assert all(body["temperature"] == 0 and body["model"] == "mine/judge" for body in server.bodies)
    assert report.main([str(sweep)]) == 0
    found = json.loads((sweep / "report.json").read_text())
    assert found["verdict"]["kind"] == "settled"
    assert "good" in found["verdict"]["arm"]
    for name in ("report.md", "report.html", "report.json"):
        text = (sweep / name).read_text()
        assert "by the language model mine/judge" in text
        assert "how well it judges is not known" in text


def test_nothing_is_asked_twice_whatever_became_of_the_record(sweep: Path, server: ChatServer) -> None:
    judge_it(sweep, server)
    asked, kept = server.requests, (sweep / "judging" / "qrels.txt").read_text()
    for name in ("judgements.jsonl", "qrels.txt"):
        (sweep / "judging" / name).unlink()
    assert judge_it(sweep, server) == 0
    assert server.requests == asked
    assert (sweep / "judging" / "qrels.txt").read_text() == kept


def test_what_is_no_grade_is_counted_and_neither_guessed_nor_asked_again(
    sweep: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.say = lambda prompt: "I would say \x1b[2J it depends"
    assert judge_it(sweep, server, "judge.budget_requests=30") == 0
    said = capsys.readouterr().out
    assert "answers gave no grade and count as not judged: I would say \\x1b[2J it depends" in said
    record = Record(sweep / "judging")
    assert record.grades() == {}
    assert {answer.answer for answer in record.latest.values()} == {UNCLEAR}
    assert len(set(server.prompts)) == len(server.prompts)


@pytest.mark.parametrize("budget", [1, 7, 20])
def test_a_budget_in_requests_is_never_crossed_repeats_included(
    sweep: Path, server: ChatServer, budget: int
) -> None:
    server.troubles.extend(["429", "500", "cut off"] * 2)
    judge_it(sweep, server, f"judge.budget_requests={budget}", "judge.retries=5")
    assert server.requests <= budget


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 100, "completion_tokens": 10}, None, {"prompt_tokens": -5}, "x"]
)
def test_a_budget_in_money_is_never_crossed_whatever_the_server_says_of_tokens(
    sweep: Path, server: ChatServer, usage: object
) -> None:
    server.usage = usage
    words = (
        "judge.budget_money=0.05",
        "judge.price_per_million_input=10",
        "judge.price_per_million_output=30",
    )
    assert judge_it(sweep, server, *words) == 0
    true = sum(len(p.encode()) for p in server.prompts) / 1e6 * 10 + server.requests * 200 / 1e6 * 30
    assert server.requests > 0
    assert true <= 0.05 or usage == {"prompt_tokens": 100, "completion_tokens": 10}
    assert server.requests * (100 * 10 + 10 * 30) / 1e6 <= 0.05


def test_what_is_set_aside_is_never_exceeded_by_what_an_answer_claims() -> None:
    budget = Budget(money=1.0, per_request=0.4)
    budget.set_aside(0.4)
    budget.settle(0.4, 5.0)
    budget.set_aside(0.4)
    with pytest.raises(Spent, match="could be exceeded"):
        budget.set_aside(0.4)
    assert (budget.sent, budget.paid) == (2, pytest.approx(0.8))


@pytest.mark.parametrize("trouble", ["429", "500", "cut off"])
def test_what_is_over_soon_is_asked_again(server: ChatServer, tmp_path: Path, trouble: str) -> None:
    server.troubles.append(trouble)
    assert Chat(settings(server), tmp_path).ask("exact exact exact").startswith("##final score")
    assert server.requests == 2


@pytest.mark.parametrize("trouble", ["400", "no text"])
def test_a_passage_that_a_model_refuses_is_passed_over_and_does_not_end_the_judging(
    sweep: Path, server: ChatServer, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    server.troubles.append(trouble)
    assert judge_it(sweep, server) == 0
    kept = Record(sweep / "judging").latest.values()
    assert [answer.answer for answer in kept].count(UNCLEAR) == 1
    assert "1 answers gave no grade" in capsys.readouterr().out


def test_where_every_request_is_refused_it_is_an_error_and_no_pair_is_passed_over(
    sweep: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.troubles.extend(["400"] * 99)
    assert judge_it(sweep, server) == 2
    assert "what \\x1b[2J is this" in capsys.readouterr().err
    assert not Record(sweep / "judging").latest


def test_what_was_no_grade_is_asked_again_by_other_settings(sweep: Path, server: ChatServer) -> None:
    say, server.say = server.say, lambda prompt: "<think>it says ##final score: 3 is for"
    assert judge_it(sweep, server, "judge.budget_requests=30") == 0
    assert Record(sweep / "judging").grades() == {}
    server.say = say
    assert judge_it(sweep, server, "judge.max_tokens=400", "judge.budget_requests=5") == 0
    assert len(Record(sweep / "judging").grades()) == 5


@pytest.mark.parametrize("trouble", sorted(set(TROUBLES) - {"429", "500", "cut off", "no text"}))
def test_what_a_repeat_would_not_change_is_one_line_that_names_settings_of_the_judge(
    server: ChatServer, tmp_path: Path, trouble: str
) -> None:
    server.troubles.append(trouble)
    with pytest.raises(UserError) as error:
        Chat(settings(server), tmp_path).ask("what")
    line = str(error.value)
    assert server.url in line
    assert "\x1b" not in line
    assert "reranker." not in line
    assert server.requests == 1


def test_a_server_that_fails_halfway_leaves_what_it_answered(sweep: Path, server: ChatServer) -> None:
    server.troubles.extend(["slow"] * 6 + ["redirect"])
    assert judge_it(sweep, server) == 2
    assert len(Record(sweep / "judging").grades()) >= 6


def test_a_key_goes_to_the_server_and_nowhere_else(
    sweep: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    server.key = "another"
    assert judge_it(sweep, server, "judge.key_variable=MY_KEY") == 2
    said = capsys.readouterr()
    assert "bad key Bearer ***" in said.err
    server.key = "sk-very-secret"
    assert judge_it(sweep, server, "judge.key_variable=MY_KEY", "judge.budget_requests=5") == 0
    files = [file for file in sweep.rglob("*") if file.is_file()]
    assert not any(b"sk-very-secret" in file.read_bytes() for file in files)


def test_all_mistakes_of_the_settings_are_told_at_once(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "judge.url=ftp://x",
        "judge.model=m",
        "judge.concurrency=0",
        "judge.budget_money=1",
        "judge.prompt=gone",
    )
    assert judge.main([str(sweep), *words]) == 2
    said = capsys.readouterr().err
    for part in (
        "judge.url",
        "judge.concurrency=0: give 1 to 256",
        "needs a price",
        "judge.prompt=gone: cannot",
    ):
        assert part in said


def test_the_prompt_is_umbrelas_with_both_texts_whatever_they_hold() -> None:
    made = filled(umbrela(), "what is {passage}?", "a {query}\nPassage: b")
    assert made.startswith(
        "Given a query and a passage, you must provide a score on an integer scale of 0 to 3"
    )
    assert "Query: what is {passage}?\nPassage: a {query}\nPassage: b\n\nSplit this problem" in made


@pytest.mark.parametrize(
    ("words", "grade"),
    [
        ("##final score: 2", 2),
        ("## Final Score: 3\n", 3),
        ("M: 2, T: 1\n##final score: 0", 0),
        ("<think>perhaps ##final score: 3</think>##final score: 1", 1),
        ("##final score: **2**", 2),
        ("2", 2),
        ("##final score: 2.", 2),
        ("##final score: 1 (related)", 1),
        ("Format: ##final score: score\n##final score: 1", 1),
        ("##final score: 2\n##final score: 3", None),
        ("##final score: 2 or 3", None),
        ("##final score: 2-3", None),
        ("##final score: 2,5", None),
        ("##final score: 1/3", None),
        ("##final score: two", None),
        ("<think>they want ##final score: 3", None),
        ("2\n3", None),
        ("##final score: 4", None),
        ("##final score: -1", None),
        ("##final score: 1.5", None),
        ("2 or 3", None),
        ("score 2", None),
        ("", None),
    ],
)  # fmt: skip
def test_an_answer_is_one_grade_or_none(words: str, grade: int | None) -> None:
    assert grade_in(words, 3) == grade


def test_queries_that_a_model_writes_are_marked_in_every_output(
    made: Path, tmp_path: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from commands import run

    server.say = lambda prompt: f"{prompt.rpartition('Passage: ')[2].split()[0]}?"
    corpus, out = made.parent / "corpus.jsonl", tmp_path / "queries.jsonl"
    words = [
        "--make-queries",
        "4",
        f"dataset.corpus={corpus}",
        "--out",
        str(out),
        "--cache-dir",
        str(tmp_path),
    ]
    assert judge.main([*words, f"judge.url={server.url}", "judge.model=m"]) == 0
    assert "favours what matches words" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert 0 < len(rows) <= 4
    assert all(row["_id"].startswith("synthetic-") and row["written_by"] == "m" for row in rows)
    sweep = tmp_path / "sweep"
    words = ["dataset=files", f"dataset.corpus={corpus}", f"dataset.queries={out}", "first_stage=bm25"]
    words += [
        "reranker=none",
        "tracking=none",
        "candidates=10",
        f"cache_dir={tmp_path / 'c'}",
        "cutoffs=[10]",
    ]
    assert run(*words, f"hydra.run.dir={sweep / '0'}") == 0
    assert report.main([str(sweep)]) == 0
    assert capsys.readouterr().out.count("synthetic queries") == 2
    assert json.loads((sweep / "0" / "result.json").read_text())["dataset"]["synthetic_queries"] == len(rows)
    for name in ("report.md", "report.html", "report.json"):
        assert "synthetic" in (sweep / name).read_text()
