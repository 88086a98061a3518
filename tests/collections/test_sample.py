"""The built-in sample collection is well formed and judged the way its README says."""

import json
import re
import unicodedata
from collections import Counter
from importlib.resources import files

import pytest

SAMPLE = files("rerankbench") / "collections" / "sample"
FILES = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "README.md"]
HEADER = "query-id\tcorpus-id\tscore"

STOP_WORDS = {
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "but",
    "by",
    "can",
    "did",
    "do",
    "does",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "her",
    "his",
    "how",
    "i",
    "if",
    "in",
    "is",
    "it",
    "its",
    "last",
    "made",
    "make",
    "makes",
    "many",
    "more",
    "most",
    "my",
    "no",
    "not",
    "of",
    "on",
    "one",
    "only",
    "or",
    "other",
    "over",
    "she",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "they",
    "this",
    "to",
    "up",
    "use",
    "used",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whose",
    "why",
    "will",
    "with",
    "without",
    "would",
    "you",
    "your",
}


def read(name):
    return SAMPLE.joinpath(*name.split("/")).read_bytes().decode("utf-8")


def read_jsonl(name):
    return [json.loads(line) for line in read(name).splitlines()]


def words(text):
    return re.findall(r"\w+", text.lower())


@pytest.fixture(scope="module")
def corpus():
    return read_jsonl("corpus.jsonl")


@pytest.fixture(scope="module")
def queries():
    return read_jsonl("queries.jsonl")


@pytest.fixture(scope="module")
def judgements():
    """Rows (query id, document id, grade) of the qrels file."""
    rows = [line.split("\t") for line in read("qrels/test.tsv").splitlines()[1:]]
    return [(query, doc, int(grade)) for query, doc, grade in rows]


@pytest.mark.parametrize("name", FILES)
def test_files_are_plain_normalised_utf8(name):
    raw = SAMPLE.joinpath(*name.split("/")).read_bytes()
    text = raw.decode("utf-8")
    assert not raw.startswith(b"\xef\xbb\xbf"), "byte order mark"
    assert unicodedata.is_normalized("NFC", text)
    assert text.endswith("\n")
    assert "\r" not in text


def test_sizes(corpus, queries):
    assert len(corpus) >= 250
    assert len(queries) >= 50


def test_fields(corpus, queries):
    for doc in corpus:
        assert list(doc) == ["_id", "title", "text"]
    for query in queries:
        assert list(query) == ["_id", "text"]
    for record in corpus + queries:
        for value in record.values():
            assert isinstance(value, str)
            assert value
            assert value == value.strip()


def test_ids_and_texts_are_unique(corpus, queries):
    for records in (corpus, queries):
        for field in ("_id", "text"):
            counts = Counter(record[field].casefold() for record in records)
            assert [value for value, n in counts.items() if n > 1] == []


def test_documents_are_short(corpus):
    lengths = {doc["_id"]: len(doc["text"].split()) for doc in corpus}
    assert {i: n for i, n in lengths.items() if not 10 <= n <= 90} == {}


def test_unicode_is_exercised(corpus, queries):
    assert any(not doc["text"].isascii() for doc in corpus)
    assert any(not query["text"].isascii() for query in queries)


def test_qrels_header_and_grades(judgements):
    assert read("qrels/test.tsv").splitlines()[0] == HEADER
    assert {grade for _, _, grade in judgements} == {0, 1, 2}


def test_judgements_are_unique_and_refer_to_known_ids(corpus, queries, judgements):
    pairs = [(query, doc) for query, doc, _ in judgements]
    assert len(set(pairs)) == len(pairs)
    assert {query for query, _ in pairs} == {query["_id"] for query in queries}
    assert {doc for _, doc in pairs} <= {doc["_id"] for doc in corpus}


def test_every_query_has_an_answer_and_two_traps(queries, judgements):
    counts = Counter((query, grade) for query, _, grade in judgements)
    for query in queries:
        assert counts[query["_id"], 2] >= 1, query
        assert counts[query["_id"], 0] >= 2, query


def test_traps_share_a_content_word_with_their_query(corpus, queries, judgements):
    doc_words = {doc["_id"]: set(words(doc["title"] + " " + doc["text"])) for doc in corpus}
    query_words = {query["_id"]: set(words(query["text"])) - STOP_WORDS for query in queries}
    strangers = [
        (query, doc)
        for query, doc, grade in judgements
        if grade == 0 and not query_words[query] & doc_words[doc]
    ]
    assert strangers == []
