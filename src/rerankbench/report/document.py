"""report.json: the findings for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python

from rerankbench.basics.visible import visible_json
from rerankbench.report.arrangements import document as arranging
from rerankbench.report.arrangements.arrangement import step
from rerankbench.report.findings import Findings
from rerankbench.report.race.record import Record

SCHEMA = 1


def document(findings: Findings) -> dict[str, Any]:
    """The report as plain values; what was not measured is null."""
    f, verdict = findings, findings.verdict
    names = [arm.name for arm in f.contest.arms]
    told = {"kind": verdict.kind, "sentence": verdict.sentence, "reasons": verdict.reasons}
    found = {
        "schema": SCHEMA,
        "verdict": told | {"arm": recommended(f)},
        "decision": decision(f),
        "left_out": f.left_out,
        "dataset": f.dataset,
        "reduced": f.reduced,
        "queries": len(f.contest.query_ids),
        "measure": f.contest.measure,
        "settings": f.settings,
        "cost_basis": f.order.basis,
        "race": race(f.book.race),
        "top_gain": selected(f),
        "best": names[f.comparison.best],
        "front": [names[i] for i in f.front],
        "arms": [arm(f, i) for i in f.ranked()] + f.arranged_arms,
        "arrangements": None if f.arranged is None else arranging.summary(f.arranged, f.settings.delta),
        "lacking": f.lacking,
        "answers": answers(f),
        "trial": f.trial,
        "settled": f.settled,
        "headroom": [asdict(room) | {"captured": room.captured} for room in f.rooms],
        "bottleneck": f.bottleneck,
        "failed": [{"arm": r.arm, "error": r.result.get("error"), "run": r.place} for r in f.contest.failed],
        "gains": {"arm": names[f.shown], "queries": f.gains},
        "losses": {"arm": names[f.shown], "queries": f.losses},
        "unjudged": f.leaning,
        "assumptions": f.assumptions(),
        "made": None if f.made is None else {"command": f.made.command, "moment": f.made.moment},
    }
    return dict(plain(found))


def recommended(f: Findings) -> str | None:
    """The name of the arm that the verdict recommends, an arrangement's too."""
    return None if f.recommended is None else f.field.name(f.recommended)


def answers(f: Findings) -> list[dict[str, Any]]:
    """For every budget and margin what to deploy, so that a page has nothing to compute."""
    return arranging.answers(f.answered, f.settings.delta)


def race(record: Record | None) -> dict[str, Any] | None:
    """What costs rest on: the race without its single times, which are in race.json."""
    if record is None:
        return None
    own = ("started", "seconds", "limit_seconds", "stopped", "width", "tolerance", "machine")
    people = [{k: v for k, v in asdict(c).items() if k != "environment"} for c in record.contestants]
    counts = {"rounds": len(record.rounds), "disturbed": record.drifted, "queries": len(record.ids)}
    return {**{name: getattr(record, name) for name in own}, **counts, "contestants": people}


def decision(f: Findings) -> dict[str, Any] | None:
    """What to choose now; null where nothing may be deployed."""
    if f.decision is None:
        return None
    return asdict(f.decision) | {"arm": f.contest.arms[f.decision.arm].name}


def selected(f: Findings) -> dict[str, Any] | None:
    """The top arm's gain, without what choosing it by the same queries adds."""
    top = f.comparison.selected
    if top is None:
        return None
    return asdict(top) | {"arm": f.contest.arms[top.arm].name, "corrected": top.mean - top.optimism}


def arm(f: Findings, i: int) -> dict[str, Any]:
    """One arm: what it is, how good, what may be claimed of it, what it costs."""
    who, compared = f.contest.arms[i], f.comparison.arms[i]
    return {
        "name": who.name,
        "kind": "plain",
        "steps": [step(who)],
        "fusion": None,
        "early_exit": None,
        "reranker": who.curve if who.reranks else None,
        "first_stage": who.stage_name,
        "layer": who.layer,
        "depth": who.depth,
        "run": who.run.place,
        "mlflow_run_id": who.run.result.get("mlflow_run_id"),
        "measures": {name: float(means[i]) for name, means in {**f.contest.means, **f.more}.items()},
        "mean": compared.mean._asdict(),
        "against_first_stage": compared.gain._asdict()
        | {"p": compared.gain_p, "sign_flip_p": compared.sign_flip_p}
        | compared.wins._asdict()
        | {"largest_loss": compared.largest_loss},
        "against_best": compared.to_best._asdict() | {"p": compared.to_best_p},
        "as_good_as_the_best": {"p": compared.deploy_p, "shown": f.comparison.certified(i)},
        "excluded": f.excluded[i] or None,
        "cost": asdict(f.costs[i]),
        "relative_cost": float(f.order.values[i]),
    }


def to_json(findings: Findings) -> str:
    return visible_json(json.dumps(document(findings), indent=1, ensure_ascii=False))


def plain(value: object) -> Any:
    """The same of what JSON has, which has no NaN and no infinity: both become null."""
    return to_jsonable_python(value, inf_nan_mode="null")
