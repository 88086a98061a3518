"""report.md: the same numbers as the page, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rerankbench.basics.visible import visible
from rerankbench.report.arrangements.words import Teller
from rerankbench.report.evidence import settled
from rerankbench.report.evidence.examples import Example
from rerankbench.report.findings import Findings
from rerankbench.report.page import table
from rerankbench.report.take_home import Recipe
from rerankbench.report.wording import if_known

HEADROOM = ("first stage and depth", "recall there", "no reranking", "best arm", "best possible", "captured")


def markdown(findings: Findings, home: Sequence[Recipe] = ()) -> str:
    """The whole report as GitHub's Markdown; `home`: how the arm is run."""
    f = findings
    lines = [f"## {safe(f.verdict.sentence)}", ""]
    lines += [safe(f.decision.sentence), ""] if f.decision else []
    lines += [*bullets(f.verdict.reasons), safe(f.subtitle()), ""]
    lines += [safe(f.leaning.line()), ""] if f.leaning else []
    lines += ["### Arms", "", *arm_table(f), ""]
    lines += [*settled_table(f), *budgets(f), *failures(f)]
    if f.rooms:
        lines += ["### Headroom", "", *headroom_table(f), "", safe(f.bottleneck), ""]
    lines += ["### All measures", "", *measures(f), ""]
    for title, found in (("Largest gains", f.gains), ("Largest losses", f.losses)):
        if found:
            lines += [f"### {title} of {safe(f.contest.arms[f.shown].name)}", "", *example_table(found), ""]
    lines += taken_home(home)
    return "\n".join([*lines, "### Notes", "", *bullets(f.assumptions())]).rstrip() + "\n"


def taken_home(home: Sequence[Recipe]) -> list[str]:
    """Ways to run the arm, as blocks of code, which nothing in them can end."""
    if not home:
        return []
    lines = ["### Put it to use", ""]
    for recipe in home:
        fence = "`" * (1 + max([2, *map(len, re.findall("`+", recipe.code))]))
        lines += [f"{safe(recipe.title)}:", "", fence, recipe.code, fence, ""]
    return lines


def safe(text: str) -> str:
    """Text in which nothing is markup: neither HTML nor Markdown, no address, and no mention of a person."""
    text = visible(" ".join(str(text).split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", text)
    text = text.replace("://", "&#58;//")  # links to GitHub, as the next
    text = re.sub(r"(www)\.", r"\1&#46;", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<!\w)@", "@&#8288;", text)  # and would tell the person of that name
    return re.sub(r"^(?:[-+=](?!\d)|\d+(?=[.)](?:\s|$)))", begin, text)


def begin(match: re.Match[str]) -> str:
    """What would begin a list or underline a heading, as text."""
    return f"\\{match[0]}" if match[0] in "-+=" else f"{match[0]}\\"


def bullets(lines: Sequence[str]) -> list[str]:
    return [*(f"- {safe(line)}" for line in lines), ""]


def rows_of(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, numbers to the right."""
    yield "| " + " | ".join(safe(heading) for heading in headings) + " |"
    yield "|---|" + "---:|" * (len(headings) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def arm_table(f: Findings) -> Iterator[str]:
    columns = table.columns(f)
    rows = []
    for i in f.ranked():
        name = safe(f.contest.arms[i].name)
        cells = [safe(column.text(f, i)) for column in columns]
        rows.append([f"**{name}**" if i == f.verdict.arm else name, *cells])
    return rows_of(["arm", *(column.heading for column in columns)], rows)


def settled_table(f: Findings) -> list[str]:
    """What the judgements settle, arm by arm; nothing where all queries are judged as a whole."""
    if f.settled is None:
        return []
    rows = settled.table(f.settled, [f.contest.arms[i].name for i in f.ranked()])
    cells = [[safe(cell) for cell in row] for row in rows]
    return ["### Settled and open", "", *rows_of(settled.HEADINGS, cells), ""]


def budgets(f: Findings) -> list[str]:
    """What to deploy within each budget, and how the recommended arrangement did when it was run for real."""
    if f.arranged is None:
        return []
    steps = [(step.budget, step.advice) for step in Teller(f.arranged, f.settings.delta).staircase()]
    lines = [safe(f.trial.line()), ""] if f.trial else []
    return lines + pairs("Within a budget", "budget", "what to do", steps)


def failures(f: Findings) -> list[str]:
    failed = [(run.arm, str(run.result.get("error"))) for run in f.contest.failed]
    return pairs("Failed", "arm", "reason", failed)


def pairs(title: str, one: str, other: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    """A table of texts under a title; nothing without rows."""
    lines = [f"| {safe(first)} | {safe(second)} |" for first, second in rows]
    return [f"### {title}", "", f"| {one} | {other} |", "|---|---|", *lines, ""] if rows else []


def headroom_table(f: Findings) -> Iterator[str]:
    rows = []
    for room in f.rooms:
        means = [f"{mean:.4f}" for mean in (room.first, room.reached, room.possible)]
        recall, captured = if_known(room.recall, "{:.4f}"), if_known(room.captured, "{:.0%}")
        rows.append([safe(f"{room.stage} {room.depth}"), recall, *means, captured])
    return rows_of(HEADROOM, rows)


def measures(f: Findings) -> Iterator[str]:
    names, rows = table.measure_table(f)
    return rows_of(
        ["arm", *names], [[safe(row["arm"]), *(f"{v:.4f}" for v in row["values"])] for row in rows]
    )


def example_table(found: Sequence[Example]) -> Iterator[str]:
    rows = []
    for example in found:
        first = example.documents[0]
        top = f"{first.text or first.doc_id} (grade {'?' if first.relevance is None else first.relevance}, "
        top += f"rank {first.before} before)"
        change = f"{example.before:.3f} to {example.after:.3f}"
        rows.append([safe(example.query), change, f"{example.change:+.3f}", safe(top)])
    return rows_of(["query", "from, to", "change", "now on rank 1"], rows)
