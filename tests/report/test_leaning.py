"""How far a difference leans on documents without a judgement, recomputed list by list with pytrec-eval."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.report.arms.arms import Contest, contest
from rerankbench.report.arms.runs import find
from rerankbench.report.evidence.leaning import Leaning, Unread, leaning
from rerankbench.report.evidence.lists import lists
from scored_runs import Drawn, drawn, first_scores, scores_like, write_scored

Run = dict[str, list[str]]


def written(folder: Path, pool: Drawn) -> Contest:
    write_scored(folder / "0", "minilm", pool, first_scores(pool, 3), {None: scores_like(pool, 5, 1.5)})
    lines = [f"{q} 0 {d} {g}\n" for q, grades in pool.qrels().items() for d, g in grades.items()]
    (folder / "0" / "qrels.trec").write_text("".join(lines))
    return contest(find([folder]), "ndcg_at_10")


def value(run: Run, qrels: dict[str, dict[str, int]]) -> float:
    """trec_eval's mean nDCG@10 of lists; a query without a list counts 0."""
    scored = {q: {d: float(-rank) for rank, d in enumerate(docs)} for q, docs in run.items() if docs}
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(scored)
    return sum(each["ndcg_cut_10"] for each in found.values()) / len(run)


def with_grade(qrels: dict[str, dict[str, int]], more: Run) -> dict[str, dict[str, int]]:
    return {q: grades | dict.fromkeys(more[q], 3) for q, grades in qrels.items()}


@pytest.fixture
def case(tmp_path: Path) -> tuple[Leaning, Drawn, Run, Run]:
    """What is said of two random lists of each query, and the lists."""
    pool = drawn(12, 20, 4)
    found = written(tmp_path, pool)
    row = [arm.name for arm in found.arms].index("minilm@20")
    both = lists(found, row)
    assert both is not None
    runs = [
        {q: [f"d{d}" for d in order[i] if d < pool.length[i]] for i, q in enumerate(pool.ids)}
        for order in (both.before, both.after)
    ]
    said = leaning(found, row)
    assert said is not None
    return said, pool, runs[0], runs[1]


def test_both_ends_are_what_trec_eval_says_of_such_judgements(case: tuple[Leaning, Drawn, Run, Run]) -> None:
    said, pool, before, after = case
    qrels = pool.qrels()
    up: Run = {q: [] for q in pool.ids}
    down: Run = {q: [] for q in pool.ids}
    for q in pool.ids:
        for d in before[q]:
            one, other = before[q].index(d), after[q].index(d)
            if d not in qrels[q] and min(one, other) < 10 and one != other:
                (up if other < one else down)[q].append(d)
    for judged, told in (
        (qrels, said.plain),
        (with_grade(qrels, up), said.high),
        (with_grade(qrels, down), said.low),
    ):
        assert told == pytest.approx(value(after, judged) - value(before, judged), abs=1e-9)
    assert said.low < said.plain < said.high


def test_condensed_lists_have_no_unjudged_documents(case: tuple[Leaning, Drawn, Run, Run]) -> None:
    said, pool, before, after = case
    qrels = pool.qrels()
    for run, told in zip((before, after), said.condensed, strict=True):
        kept = {q: [d for d in docs if d in qrels[q]] for q, docs in run.items()}
        assert told == pytest.approx(value(kept, qrels), abs=1e-9)


def test_shares_count_what_there_is(case: tuple[Leaning, Drawn, Run, Run]) -> None:
    said, pool, before, after = case
    for run, told in zip((before, after), said.unjudged, strict=True):
        top = [d in pool.qrels()[q] for q, docs in run.items() for d in docs[:10]]
        assert told == pytest.approx(1 - np.mean(top))


def test_nothing_is_said_where_all_is_judged_or_no_judgements_are_at_hand(tmp_path: Path) -> None:
    pool = drawn(12, 20, 4, full=True)
    judged = Drawn(np.where(pool.grades == UNJUDGED, 0, pool.grades).astype(np.int32), pool.length)
    found = written(tmp_path / "all", judged)
    assert leaning(found, len(found.arms) - 1) is None
    found = written(tmp_path / "lost", pool)
    (tmp_path / "lost" / "0" / "qrels.trec").unlink()
    assert leaning(found, len(found.arms) - 1) is None


def test_a_damaged_file_of_judgements_is_named_with_its_line(tmp_path: Path) -> None:
    found = written(tmp_path, drawn(12, 20, 4))
    (tmp_path / "0" / "qrels.trec").write_text("q0 0 d1 1\nq0 d2 1\n")
    told = leaning(found, len(found.arms) - 1)
    assert isinstance(told, Unread)
    assert re.search(r"is not known: \S+/0/qrels\.trec: line 2 is not a judgement", told.line())
