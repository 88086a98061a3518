"""BM25 over words, stop words left out and words stemmed."""

from __future__ import annotations

import difflib
import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.finding import Finding, examples
from rerankbench.basics.progress import Progress
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection, Corpus
from rerankbench.first_stages.first_stage import FirstStage, Searcher
from rerankbench.first_stages.search_context import SearchContext

# Scripts whose characters say much: their words are taken as overlapping pairs of characters, the usual
# baseline where no segmenter is at hand (Lucene's CJKBigramFilter does the same, Korean included, whose
# particles hang on to words).
IDEOGRAPHS = "々-〇぀-ヿ㐀-鿿가-힣豈-﫿𠀀-𳏿"
# Scripts without spaces whose characters say little: Thai, Lao, Myanmar, Khmer, Tai Le, New Tai Lue, Tai
# Tham, Tai Viet (Unicode's line-breaking class SA). Pairs and triples of characters with their marks: on
# SciFact with its spaces removed, pairs alone reach nDCG@10 0.52, triples 0.65, both 0.64, words 0.68.
# Of the Universal Declaration of Human Rights, an article's first paragraph finds the others with nDCG@10
# 0.57 in Thai, 0.54 in Lao, 0.59 in Khmer, 0.41 in Burmese (0.54 in English); by blanks, 0.03 to 0.27.
SYLLABLES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
SYLLABIC = re.compile(f"[{SYLLABLES}]")
UNSPACED = re.compile(f"([{IDEOGRAPHS}]+|[{SYLLABLES}]+)")
# What words may hold without being other words: all invisible characters (soft hyphens, joiners, marks of
# direction, variation selectors, byte order marks) but the zero-width space, which parts words where no blank
# does, and the stroke that lengthens Arabic words.
PARTING = "\u200b"
INSIDE_WORDS = re.compile("[\u034f\u0640\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
UNSTEMMED = ("burmese", "chinese", "japanese", "khmer", "korean", "lao", "none", "thai")
LARGEST_K1 = 1_000_000  # beyond it nothing changes any more; NaN and infinity would lose every document
ANALYSIS = 4  # raise it when the same text would become other words


@dataclass(frozen=True)
class BM25(FirstStage):
    """Scores of bm25s' Lucene variant (Kamphuis et al., ECIR 2020).

    `language`: a Snowball stemmer's name (english, porter, german, arabic, hindi, ...), or one that stems
    nothing (none, chinese, japanese, korean, thai, lao, khmer, burmese); these scripts are split into pairs
    of characters under any language. `k1`: how fast further occurrences of a word count less. `b`: how much
    long documents count less. The defaults are Anserini's.
    """

    k1: float = 0.9
    b: float = 0.4
    language: str = "porter"

    kind: ClassVar[str] = "bm25"

    def problems(self) -> list[str]:
        import Stemmer

        found = []
        if not 0 <= self.k1 <= LARGEST_K1 or not 0 <= self.b <= 1:
            found.append(
                f"first_stage.k1={self.k1}, first_stage.b={self.b}: "
                f"k1 is between 0 and {LARGEST_K1:,}, b between 0 and 1"
            )
        names = sorted([*Stemmer.algorithms(), *UNSTEMMED])
        if self.language not in names:
            close = difflib.get_close_matches(self.language, names, 1)
            hint = f"did you mean {close[0]}? one" if close else "choose one"
            found.append(f"first_stage.language={self.language}: {hint} of {' '.join(names)}")
        return found

    def identity(self, context: SearchContext) -> dict[str, Any]:
        import bm25s
        import Stemmer

        versions = {"bm25s": bm25s.__version__, "stemmer": Stemmer.version(), "analysis": ANALYSIS}
        return {"kind": self.kind, **versions, **asdict(self)}

    def search(self, collection: Collection, depth: int, context: SearchContext) -> Candidates:
        index = self.index(collection)
        rows = np.full((len(collection.query_texts), depth), -1, np.int64)
        scores = np.full(rows.shape, -np.inf, np.float32)
        with Progress("bm25", len(rows), "queries") as progress:
            for query, text in enumerate(collection.query_texts):
                found = best(self.scores(index, text), depth)
                rows[query, : len(found[0])], scores[query, : len(found[0])] = found
                progress.advance(1)
        return Candidates(rows, scores).with_findings(silent(collection.query_texts, rows))

    def searcher(self, collection: Collection, depth: int, context: SearchContext) -> Searcher:
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

    def scores(self, index: Any, query: str) -> Floats:
        """BM25 of one query against every row."""
        known = [word for word in self.analyse([query])[0] if word in index.vocab_dict]
        return index.get_scores(known) if known else np.zeros(index.scores["num_docs"], np.float32)

    def analyse(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text: normalised, lower case, stop words left out, stemmed."""
        import Stemmer

        stop = stop_words(self.language)
        turkish = self.language == "turkish"
        kept = [[word for word in words(text, turkish) if word not in stop] for text in texts]
        if self.language in UNSTEMMED:
            return kept
        stemmer = Stemmer.Stemmer(self.language)
        return [stemmer.stemWords(found) for found in kept]


class Separators(dict[int, str | None]):
    """What `str.translate` makes of each character: itself in a word, nothing, or a space between words."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        if INSIDE_WORDS.match(character) or (category == "Cf" and character != PARTING):
            self[code] = None
        else:
            self[code] = character if category[0] in "LMN" else " "
        return self[code]


SEPARATORS = Separators()


def words(text: str, turkish: bool = False) -> list[str]:
    """Runs of letters, marks and digits in lower case; unspaced scripts as overlapping groups of these."""
    found: list[str] = []
    for piece in UNSPACED.split(normal(text, turkish).translate(SEPARATORS)):
        if not piece or piece.isspace():
            continue
        if not UNSPACED.fullmatch(piece):
            found += piece.split()
        elif SYLLABIC.match(piece):
            found += groups(clusters(piece), (2, 3))
        else:
            found += groups(list(piece), (2,))
    return found


def normal(text: str, turkish: bool = False) -> str:
    """The text in one spelling (NFKC: composed, without ligatures and full-width forms) and lower case.

    turkish: I and \u0130 are two letters there.
    """
    if text.isascii() and not turkish:
        return text.lower()
    composed = unicodedata.normalize("NFKC", text)
    if turkish:
        composed = composed.replace("I", "\u0131").replace("\u0130", "i")
    lower = composed.lower().replace("i\u0307", "i")  # what Python makes of \u0130
    return unicodedata.normalize("NFKC", lower)


def clusters(piece: str) -> list[str]:
    """Letters with the marks that stand above, below and behind them, in whatever order these were typed."""
    found: list[str] = []
    for character in piece:
        if found and unicodedata.category(character)[0] == "M":
            found[-1] += character
        else:
            found.append(character)
    return [cluster[0] + "".join(sorted(cluster[1:])) for cluster in found]


def groups(parts: list[str], sizes: tuple[int, ...]) -> list[str]:
    """All runs of so many neighbouring parts; a piece too short for any is one group."""
    if len(parts) <= sizes[0]:
        return ["".join(parts)]
    return ["".join(parts[at : at + size]) for size in sizes for at in range(len(parts) - size + 1)]


@cache
def stop_words(language: str) -> frozenset[str]:
    """bm25s' list for the language, empty where it has none."""
    import bm25s.stopwords as lists

    codes = {"porter": "EN", "english": "EN", "lovins": "EN", "german": "GERMAN", "dutch": "DUTCH",
             "french": "FRENCH", "spanish": "SPANISH", "portuguese": "PORTUGUESE", "italian": "ITALIAN",
             "russian": "RUSSIAN", "swedish": "SWEDISH", "norwegian": "NORWEGIAN",
             "turkish": "TURKISH"}  # fmt: skip
    return frozenset(getattr(lists, f"STOPWORDS_{codes.get(language, '')}", ()))


def silent(query_texts: Sequence[str], rows: Ints) -> tuple[Finding, ...]:
    """What to say of queries for which there is nothing."""
    empty = np.flatnonzero((rows >= 0).sum(axis=1) == 0).tolist()
    if not empty:
        return ()
    what, where = "queries for which BM25 finds nothing", examples([query_texts[query] for query in empty])
    why = "no document has a word of theirs (stop words aside)"
    effect = f"{why}; they count 0: is first_stage.language right?"
    return (Finding("warning", what, len(empty), where, effect),)


def best(scores: Floats, depth: int) -> tuple[Ints, Floats]:
    """The `depth` highest positive scores with their rows; equal scores in order of rows."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:  # sort only what can be among the best, ties with the last of them included
        lowest = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
        rows = rows[scores[rows] >= lowest]
    order = rows[np.lexsort((rows, -scores[rows]))][:depth]
    return order, scores[order]
