"""BM25 over words, stop words left out and words stemmed."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.bench import Bench
from rerankbench.candidates import Candidates
from rerankbench.collection import Collection, Corpus
from rerankbench.first_stages.first_stage import FirstStage, Searcher
from rerankbench.progress import Progress

# Scripts written without spaces: their words are taken as overlapping pairs of characters, the usual
# baseline where no segmenter is at hand (Lucene's CJKBigramFilter does the same).
UNSPACED = re.compile(r"([々-〇぀-ヿ㐀-鿿豈-﫿𠀀-𳏿ｦ-ﾟ]+)")
# Invisible characters inside words: soft hyphen, the joiners of Indic scripts and Persian, word joiner.
INSIDE_WORDS = "\u00ad\u200c\u200d\u2060"
UNSTEMMED = ("chinese", "japanese", "none")
ANALYSIS = 2  # raise it when the same text would become other words


@dataclass(frozen=True)
class BM25(FirstStage):
    """Scores of bm25s' Lucene variant (Kamphuis et al., ECIR 2020).

    `language`: a Snowball stemmer's name (english, porter, german, arabic, hindi, ...), or chinese, japanese
    or none, which stem nothing; Chinese and Japanese are split into pairs of characters under any language.
    `k1`: how fast further occurrences of a word count less. `b`: how much long documents count less. The
    defaults are Anserini's.
    """

    k1: float = 0.9
    b: float = 0.4
    language: str = "porter"

    kind: ClassVar[str] = "bm25"

    def problems(self) -> list[str]:
        import Stemmer

        found = []
        if self.k1 < 0 or not 0 <= self.b <= 1:
            found.append(
                f"first_stage.k1={self.k1}, first_stage.b={self.b}: k1 is at least 0, b between 0 and 1"
            )
        names = sorted([*Stemmer.algorithms(), *UNSTEMMED])
        if self.language not in names:
            found.append(f"first_stage.language={self.language}: choose one of {', '.join(names)}")
        return found

    def identity(self, bench: Bench) -> dict[str, Any]:
        import bm25s
        import Stemmer

        versions = {"bm25s": bm25s.__version__, "stemmer": Stemmer.version(), "analysis": ANALYSIS}
        return {"kind": self.kind, **versions, **asdict(self)}

    def search(self, collection: Collection, depth: int, bench: Bench) -> Candidates:
        index = self.index(collection)
        rows = np.full((len(collection.query_texts), depth), -1, np.int64)
        scores = np.full(rows.shape, -np.inf, np.float32)
        with Progress("bm25", len(rows), "queries") as progress:
            for query, text in enumerate(collection.query_texts):
                found = best(self.scores(index, text), depth)
                rows[query, : len(found[0])], scores[query, : len(found[0])] = found
                progress.advance(1)
        return Candidates(rows, scores)

    def searcher(self, collection: Collection, depth: int, bench: Bench) -> Searcher:
        index = self.index(collection)
        return lambda query: best(self.scores(index, query), depth)

    def index(self, collection: Collection) -> Any:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # on import it turns its own debugging on
        index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene")
        documents, vocabulary = self.numbered(collection.corpus)
        if not vocabulary:  # bm25s needs one: a word that no query has
            documents, vocabulary = [[0], *documents[1:]], {"\0": 0}
        index.index((documents, vocabulary), show_progress=False)
        return index

    def numbered(self, corpus: Corpus) -> tuple[list[list[int]], dict[str, int]]:
        """Each document as numbers of words, and the numbers; never all texts at once."""
        vocabulary: dict[str, int] = {}
        documents = []
        for _, texts in corpus.blocks():
            for found in self.analyse(texts.to_pylist()):
                documents.append([vocabulary.setdefault(word, len(vocabulary)) for word in found])
        return documents, vocabulary

    def scores(self, index: Any, query: str) -> NDArray[np.float32]:
        """BM25 of one query against every row."""
        known = [word for word in self.analyse([query])[0] if word in index.vocab_dict]
        return index.get_scores(known) if known else np.zeros(index.scores["num_docs"], np.float32)

    def analyse(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text: lower case, stop words left out, stemmed."""
        import Stemmer

        stop = stop_words(self.language)
        kept = [[word for word in words(text) if word not in stop] for text in texts]
        if self.language in UNSTEMMED:
            return kept
        stemmer = Stemmer.Stemmer(self.language)
        return [stemmer.stemWords(found) for found in kept]


class Separators(dict[int, str | None]):
    """What `str.translate` makes of each character: itself in a word, nothing, or a space between words."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        inside = None if character in INSIDE_WORDS else " "
        self[code] = character if unicodedata.category(character)[0] in "LMN" else inside
        return self[code]


SEPARATORS = Separators()


def words(text: str) -> list[str]:
    """Runs of letters, marks and digits in lower case; unspaced scripts as pairs of characters."""
    found: list[str] = []
    for piece in UNSPACED.split(text.lower().translate(SEPARATORS)):
        if UNSPACED.fullmatch(piece):
            found += [piece[i : i + 2] for i in range(max(1, len(piece) - 1))]
        else:
            found += piece.split()
    return found


@cache
def stop_words(language: str) -> frozenset[str]:
    """bm25s' list for the language, empty where it has none."""
    import bm25s.stopwords as lists

    codes = {"porter": "EN", "english": "EN", "lovins": "EN", "german": "GERMAN", "dutch": "DUTCH",
             "french": "FRENCH", "spanish": "SPANISH", "portuguese": "PORTUGUESE", "italian": "ITALIAN",
             "russian": "RUSSIAN", "swedish": "SWEDISH", "norwegian": "NORWEGIAN",
             "turkish": "TURKISH"}  # fmt: skip
    return frozenset(getattr(lists, f"STOPWORDS_{codes.get(language, '')}", ()))


def best(scores: NDArray[np.float32], depth: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `depth` highest positive scores with their rows; equal scores in order of rows."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:  # sort only what can be among the best, ties with the last of them included
        lowest = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
        rows = rows[scores[rows] >= lowest]
    order = rows[np.lexsort((rows, -scores[rows]))][:depth]
    return order, scores[order]
