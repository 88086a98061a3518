"""Three runs over queries that nobody judged, and the grades that a person would give.

A document of grade 2 says "exact" twice. `good` counts that word, `poor` goes by the length of texts.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from collections_on_disk import jsonl
from commands import run

QUERIES, DOCUMENTS = 12, 14
RERANKERS = {
    "none": ["reranker=none"],
    "good": ["reranker=function", "reranker.function=unjudged_mine:good", "reranker.allow_code=true"],
    "poor": ["reranker=function", "reranker.function=unjudged_mine:poor", "reranker.allow_code=true"],
}
MINE = """
def good(query, texts):
    return [text.count("exact") for text in texts]
def poor(query, texts):
    return [len(text) for text in texts]
"""


def grade(document: str) -> int:
    return document.count("exact")


def texts() -> dict[str, str]:
    """Documents by id: of each topic so many, no two alike."""
    drawn = random.Random(0)
    return {
        f"{topic:03d}-{n}": f"topic{topic} "
        + "exact " * drawn.choice([0, 0, 0, 1, 2])
        + "sea " * drawn.randrange(20)
        + f"n{n:02d}"
        for topic in range(QUERIES)
        for n in range(DOCUMENTS)
    }


def unjudged_sweep(folder: Path, monkeypath: list[str], *more: str) -> Path:
    """The folder of the sweep; `monkeypath` is sys.path as the runs may change it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "unjudged_mine.py").write_text(MINE)
    jsonl(folder / "corpus.jsonl", [{"_id": name, "text": text} for name, text in texts().items()])
    jsonl(folder / "queries.jsonl", [{"_id": f"q{n}", "text": f"topic{n}"} for n in range(QUERIES)])
    monkeypath.insert(0, str(folder))
    sys.modules.pop("unjudged_mine", None)
    for number, reranker in enumerate(RERANKERS.values()):
        words = [
            "dataset=files", f"dataset.corpus={folder / 'corpus.jsonl'}",
            f"dataset.queries={folder / 'queries.jsonl'}", "first_stage=bm25", "tracking=none", "device=cpu",
            f"candidates={DOCUMENTS}", "cutoffs=[1,10]", f"cache_dir={folder / 'cache'}",
            f"hydra.run.dir={folder / 'sweep' / str(number)}", *reranker, *more,
        ]  # fmt: skip
        assert run(*words) == 0
    return folder / "sweep"
