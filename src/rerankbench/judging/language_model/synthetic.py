"""Queries written by a language model, for collections that have none.

They favour what matches words: a question made from one passage repeats its words, and that passage answers
it. Their ids say what they are, so that every output can.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import SYNTHETIC, Corpus
from rerankbench.collections.reading.conversion import read_table
from rerankbench.collections.reading.layout import DOCUMENTS
from rerankbench.collections.reading.rows import new_log
from rerankbench.collections.sources.source import given_problem
from rerankbench.engine.store.rows import write_atomic
from rerankbench.judging.language_model.budget import Spent
from rerankbench.judging.language_model.chat import Chat
from rerankbench.judging.language_model.model import THOUGHTS, filled
from rerankbench.judging.language_model.model_settings import own

SEED = 0
SHORTEST, LONGEST = 5, 500  # characters of a question
LONGEST_PASSAGE = 6000


def queries(corpus: Corpus, count: int, chat: Chat, say: Callable[[str], None]) -> list[dict[str, str]]:
    """Up to `count` queries with the documents that they were made from. Raises UserError.

    Documents are drawn at random, by a fixed seed; those without text, and answers that are no question of
    one line, are passed over.
    """
    order = np.random.default_rng(SEED).permutation(len(corpus))
    found: dict[str, dict[str, str]] = {}
    with ThreadPoolExecutor(chat.settings.concurrency) as pool:
        for at in range(0, len(order), 2 * chat.settings.concurrency):
            if len(found) >= count:
                break
            rows = order[at : at + min(2 * chat.settings.concurrency, count - len(found))]
            try:
                for query in written(corpus, rows, chat, pool):
                    found.setdefault(query["_id"], query)
            except Spent as spent:
                say(f"stopped    {spent}")
                break
    return list(found.values())[:count]


def corpus_of(file: str, cache_dir: Path) -> Corpus:
    """The documents of a file. Raises UserError with every fault in it."""
    if problem := given_problem(file, "dataset.corpus"):
        raise UserError(problem)
    path = Path(file).expanduser()
    log = new_log(path)
    documents = read_table(path, DOCUMENTS, log, cache_dir)
    if problems := log.problems():
        raise UserError(problems)
    return Corpus(documents.table, release=documents.release)


def written(
    corpus: Corpus, rows: NDArray[np.int64], chat: Chat, pool: ThreadPoolExecutor
) -> list[dict[str, str]]:
    """One query each of some documents."""
    texts = corpus.texts(rows)
    ids = corpus.ids(rows)
    usable = [(doc_id, text) for doc_id, text in zip(ids, texts, strict=True) if text.strip()]
    prompts = [filled(own("query"), "", text[:LONGEST_PASSAGE]) for _, text in usable]
    answers = list(pool.map(chat.ask, prompts))
    return [
        {"_id": name(text), "text": text, "made_from": doc_id, "written_by": chat.settings.model}
        for (doc_id, _), answer in zip(usable, answers, strict=True)
        if (text := question(answer))
    ]


def question(answer: str) -> str:
    """The question of an answer, on one line; empty where it is something else."""
    text = THOUGHTS.sub("", answer).strip().strip('"').strip()
    return text if SHORTEST <= len(text) <= LONGEST and len(text.splitlines()) == 1 else ""


def name(text: str) -> str:
    return SYNTHETIC + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def write(path: Path, made: Sequence[dict[str, str]]) -> None:
    """Queries as JSON Lines. Raises UserError where they cannot be written."""
    lines = [json.dumps(query, ensure_ascii=False) + "\n" for query in made]
    try:
        write_atomic(path, "".join(lines).encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror})") from None
