"""No mistake is put into words that no test has seen: the page of faults, whose cures are tried, another
test, or a reason in this file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from messages import Message, messages

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"

LATER = "no test quotes its words yet"
# Part of a wording -> why no test makes it happen. Each must still be there, and be needed.
REASONS = {
    "choose one with --port": "needs a server of MLflow that ends at once",
    "no Apple GPU": "depends on the machine; its cure, device=cpu, is in most commands here",
    "no CUDA device": "depends on the machine; its cure, device=cpu, is in most commands here",
    "helps where it has too few positions": "tested by how it begins",
    "which family causal is not known": "tested by the option that it names",
    "family seq2seq needs": "tested by the option that it names",
    ", or, since": "tested by what it makes of the folder",
    "the hub has no revision": "needs the hub to answer",
    "the entry point's name": "a mistake of a package's author",
    "ask the package's authors": "a mistake of a package's author",
    "may hold letters, digits, dots": "a mistake of a package's author",
    "not computed; there are": "of the Python interface, where nothing is typed",
    "is not there; fetch all": LATER,
    "give a config file": LATER,
    "are these distances?": LATER,
    "throughput rests on": LATER,
    "measured on other queries": LATER,
    "this is a link, and links are not followed": LATER,
    "this experiment of": LATER,
    "is empty: give an answer": LATER,
    "its tokenizer joins pairs by token": LATER,
    "give a plain text, or leave it out": LATER,
    "a score is a finite number": LATER,
    "cannot be put together": LATER,
    "the usual prompt asks for grades": LATER,
    "so it is not a ColBERT": LATER,
    "which embeds by its last token": LATER,
    "holds a ColBERT, which has a vector": LATER,
    "a projection of the model's": LATER,
    "not one weight": LATER,
    "names no base model": LATER,
    "give an ONNX file or its folder": LATER,
    "is this a chat model": LATER,
    "judge....": LATER,
    "are no longer at hand": LATER,
    "model=...: give a plain name": LATER,
    "is the server running": LATER,
    "export the model for text-classification": LATER,
    "not as whole numbers": LATER,
    "reads texts of exactly": LATER,
    "or give an embedder": LATER,
    "did not measure what deploy.yaml": LATER,
    "is not CSV (": LATER,
    "its answer is not a list of": LATER,
    "texts; at most ... are taken": "an answer of the service, tested by its status",
    "empty; send at least one text": "an answer of the service, tested by its status",
    "at most ... are read": LATER,
    "query: empty": LATER,
    "chat_template.restore_suffix": "the name of a setting, in a list of those that are refused",
    "more than ... levels": "of a deploy.yaml that a stranger nested on purpose",
    "WWW-Authenticate": "the name of a header",
    "Authorization: Bearer KEY": "an answer of the service, tested by its status",
    '{"trust": True}': "of the Python interface of MLflow",
    "run_folders.py": LATER,
}


@cache
def everything_tested() -> str:
    files = sorted(TESTS.rglob("*.py"))
    whole = "\n".join(file.read_text(encoding="utf-8") for file in files if file != Path(__file__))
    return re.sub(r'"\s*\n\s*[rf]*"', "", whole)  # texts that go on in the next line


@cache
def unseen() -> list[Message]:
    page = PAGE.read_text(encoding="utf-8")
    return [m for m in messages() if not m.is_in(page) and not m.is_quoted(everything_tested())]


def test_every_wording_of_a_mistake_is_on_the_page_of_faults_or_in_a_test_or_has_a_reason() -> None:
    unknown = [str(message) for message in unseen() if not any(part in str(message) for part in REASONS)]
    assert unknown == [], "add a fault with its cure to tests/helpers/bad_input.py"


def test_no_reason_is_stale() -> None:
    told = [str(message) for message in unseen()]
    assert [part for part in REASONS if not any(part in line for line in told)] == []


def test_the_search_finds_wordings() -> None:
    found = list(messages())
    assert len(found) > 400
    assert any("the brackets" in str(message) or "is not UTF-8" in str(message) for message in found)
    assert not Message("x.py", 1, ("nobody ever said this ", None)).is_in(PAGE.read_text(encoding="utf-8"))
