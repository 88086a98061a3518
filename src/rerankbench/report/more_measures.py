"""Measures that are asked for by ir_measures' names: ours where we have them, its library for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation.measures import grades_at
from rerankbench.report.arms.arms import Contest
from rerankbench.report.evidence.lists import Lists, lists
from rerankbench.report.measure_names import parsed

Values = NDArray[np.float64]
OURS = {"nDCG": "ndcg", "R": "recall", "RR": "mrr", "Success": "success"}


def more(contest: Contest, names: Sequence[str]) -> dict[str, Values]:
    """Means [arms] by name as ir_measures writes it; a query without results counts 0.

    Raises UserError where a measure cannot be worked out.
    """
    found: dict[str, Values] = {}
    left = []
    for name in names:
        measure = parsed(name)
        ours = own_name(measure)
        if ours in contest.means:
            found[str(measure)] = contest.means[ours]
        else:
            left.append(measure)
    return found | asked(contest, left) if left else found


def own_name(measure: Any) -> str:
    """Our name of a measure that we have; empty for others, and for variants that we lack."""
    params = dict(measure.params)
    cutoff = params.pop("cutoff", None)
    kind = OURS.get(measure.NAME, "")
    return f"{kind}_at_{cutoff}" if kind and cutoff and not params else ""


def asked(contest: Contest, wanted: Sequence[Any]) -> dict[str, Values]:
    """The means [arms] that the library works out, arm by arm."""
    means: dict[str, list[float]] = {str(measure): [] for measure in wanted}
    held: dict[str, Lists] = {}
    for row in range(len(contest.arms)):
        both = of_arm(contest, row, held)
        for measure in wanted:
            values = library(measure, both, after=contest.arms[row].reranks)
            means[str(measure)].append(float(values.mean()))
    return {name: np.array(rows) for name, rows in means.items()}


def of_arm(contest: Contest, row: int, held: dict[str, Lists]) -> Lists:
    """The arm's lists; of a first stage those of an arm that reranks it. Raises UserError without them."""
    arm = contest.arms[row]
    if not arm.reranks and arm.stage in held:
        return held[arm.stage]
    same = [i for i, other in enumerate(contest.arms) if other.stage == arm.stage and other.reranks]
    found = lists(contest, row if arm.reranks else next(iter(same), row))
    if found is None:
        raise UserError(
            f"more measures: the lists of {arm.name} are not at hand ({arm.run.place} has no scores.parquet "
            "or qrels.trec); give the folder of the runs as they were written"
        )
    held[arm.stage] = found
    return found


def library(measure: Any, both: Lists, *, after: bool) -> Values:
    """One measure [queries] of an arm's lists."""
    import ir_measures

    order = both.after if after else both.before
    qrels, run = as_dicts(both, order)
    out = np.zeros(len(order))
    for variant in variants(measure, both.threshold):
        try:
            for each in ir_measures.iter_calc([variant], qrels, run):
                out[int(each.query_id) - 1] = each.value
            return out
        except ValueError as error:
            why = " ".join(str(error).split())
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    raise UserError(f"{measure}: ir_measures does not work it out here: {why}")


def variants(measure: Any, threshold: int) -> Iterator[Any]:
    """The measure as it was asked for; then with the collection's threshold, which some cannot do without."""
    yield measure
    if "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params:
        yield measure(rel=threshold)


def as_dicts(
    both: Lists, order: NDArray[np.int64]
) -> tuple[Mapping[str, Mapping[str, int]], Mapping[str, Mapping[str, float]]]:
    """Judgements and a run. Queries are numbered, as some of the library's providers want them.

    Documents are called by their places among the candidates; judged ones that are none are added.
    """
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    grades = grades_at(both.grades, order)
    for i in range(len(order)):
        query = str(i + 1)
        length = int(both.length[i])
        run[query] = {f"c{order[i, rank]}": float(-rank) for rank in range(length)}
        judged = {f"c{order[i, r]}": int(grades[i, r]) for r in range(length) if grades[i, r] != UNJUDGED}
        every = [int(g) for g in both.ideal[i] if g != UNJUDGED]
        for grade in judged.values():
            every.remove(grade)
        qrels[query] = judged | {f"m{k}": grade for k, grade in enumerate(every)}
    return {q: d for q, d in qrels.items() if d}, {q: d for q, d in run.items() if d}
