"""Faults of a collection's files, one line each: the bytes of the file, and what is said of them."""

from __future__ import annotations

SEVEN = b'{"_id": "7", "text": "a"}\n'
# The content of one file, and what the one problem must say behind the file's name.
CORPUS_FAULTS: dict[str, tuple[bytes, str]] = {
    "broken JSON": (SEVEN + b'{"_id": "8", "te\n', ":2: is not valid JSON"),
    "not an object": (SEVEN + b'\n["8"]\n', ":3: is not a JSON object: '[\"8\"]'"),
    "two objects on a line": (SEVEN[:-1] + SEVEN, ":1: is not valid JSON (Extra data)"),
    "deeply nested": (SEVEN + b"[" * 100_000, ":2: is not valid JSON"),
    "a number of 5,000 digits": (SEVEN + b'{"_id": ' + b"1" * 5000 + b"}\n", ":2: is not valid JSON"),
    "missing text": (SEVEN + b'{"_id": "8"}\n', ":2: lacks 'text'; this line is"),
    "missing id": (SEVEN + b'{"text": "b"}\n', ":2: lacks '_id'"),
    "null text": (b'{"_id": "7", "text": null}\n', ":1: the text is null, None: it must be a string"),
    "text a list": (b'{"_id": "7", "text": ["a"]}\n', ":1: the text is of type list, ['a']"),
    "title a number": (b'{"_id": "7", "title": 3, "text": ""}\n', ":1: the title is of type int, 3"),
    "id a float": (b'{"_id": 7.5, "text": ""}\n', ":1: the id is of type float, 7.5"),
    "id a bool": (b'{"_id": true, "text": ""}\n', ":1: the id is of type bool, True"),
    "id NaN": (b'{"_id": NaN, "text": ""}\n', ":1: the id is of type float, nan"),
    "id null": (b'{"_id": null, "text": ""}\n', ":1: the id is null, None"),
    "id empty": (b'{"_id": "", "text": ""}\n', ":1: the id is empty, ''"),
    "id blank": (b'{"_id": " \\t", "text": ""}\n', ":1: the id is empty, ' \\t'"),
    "id with NUL": (b'{"_id": "a\\u0000b", "text": ""}\n', ":1: the id holds a NUL character, 'a\\x00b'"),
    "duplicate id": (
        SEVEN + b"\n" + SEVEN,
        ":3: the id '7' was used by line 1: ids are unique, rename or remove one",
    ),
    "7 and '7'": (SEVEN + b'{"_id": 7, "text": "b"}\n', ":2: the id '7' was used by line 1"),
    "half a surrogate": (b'{"_id": "7", "text": "\\ud83d!"}\n', ":1: the text holds \\ud83d, half of a"),
    "half a surrogate as id": (b'{"_id": "\\udc00", "text": ""}\n', ":1: the id holds \\udc00, half of a"),
    "NUL byte": (SEVEN + b'{"_id": "8", "text": "\0"}\n', ":2: holds a NUL byte at byte offset 48"),
    "Latin-1": (
        SEVEN + b'{"_id": "8", "text": "caf\xe9"}\n',
        ":2: is not UTF-8: byte 0xe9 at byte offset 51",
    ),
    "cut-off UTF-8": (b'{"_id": "7", "text": "\xc3', ":1: is not UTF-8: byte 0xc3 at byte offset 22"),
    "UTF-16": (SEVEN.decode().encode("utf-16"), ":1: starts with the mark of UTF-16, byte 0xff"),
    "an empty file": (b"", ": the file is empty"),
    "only blank lines": (b"\n\r\n \n", ": holds no document"),
}

QUERIES_FAULTS: dict[str, tuple[bytes, str]] = {
    "no query": (b"\n", ": holds no query"),
    "query without text": (b'{"_id": "q1", "text": "a"}\n{"_id": "q2"}\n', ":2: lacks 'text'"),
    "duplicate query": (b'{"_id": "q1", "text": "a"}\n' * 2, ":2: the id 'q1' was used by line 1"),
}

HEADER = b"query-id\tcorpus-id\tscore\n"
JUDGED = b"q1\t7\t1\n"
QRELS_FAULTS: dict[str, tuple[bytes, str]] = {
    "grade NaN": (JUDGED + b"q1\tc\tnan\n", ":2: the grade is 'nan': it must be a whole number"),
    "grade infinite": (JUDGED + b"q1\tc\tinf\n", ":2: the grade is 'inf'"),
    "grade fractional": (JUDGED + b"q1\tc\t0.5\n", ":2: the grade is '0.5'"),
    "grade a word": (HEADER + b"q1\t7\thigh\n", ":2: the grade is 'high'"),
    "grade empty": (HEADER + b"q1\t7\t\n", ":2: the grade is ''"),
    "grade in other digits": (JUDGED + "q1\tc\t٣\n".encode(), ":2: the grade is '٣'"),
    "grade with underscore": (JUDGED + b"q1\tc\t1_0\n", ":2: the grade is '1_0'"),
    "grade too large": (JUDGED + b"q1\tc\t3000000000\n", ":2: the grade 3000000000 is out of range"),
    "grade too small": (JUDGED + b"q1\tc\t-2147483648\n", ":2: the grade -2147483648 is out of range"),
    "contradiction": (
        JUDGED + b"q1\t7\t0\n",
        ":2: query 'q1', document '7' has grade 0, but 1 in line 1: keep one",
    ),
    "a column too many": (JUDGED + b"q1\tc\t1\tx\n", ":2: has 4 columns instead of 3: 'q1 c 1 x'"),
    "five columns": (b"q1\t0\t7\t1\tx\n", ":1: has 5 columns, not 2, 3 or 4, and no header: 'q1 0 7 1 x'"),
    "ranks of a run": (
        b"".join(b"q1\t%d\t%d\n" % (doc, rank) for rank, doc in enumerate((7, 8, 9, 3, 4), start=1)),
        ": its grades count 1, 2, 3 for each query, as the ranks of a run do: give the judgements",
    ),
    "half a header": (
        b"query-id\tcorpus-id\tpoints\nq1\t7\t1\n",
        ": no column for the grade: looked for score",
    ),
    "an empty query id": (JUDGED + b"\t7\t1\n", ":2: the query id is empty"),
    "no judgement": (HEADER, ": holds no judgement"),
    "no positive": (b"q1\t7\t0\nq2\tc\t-1\n", ": no judgement is positive: the highest grade is 0"),
    "other queries": (b"x1\t7\t1\n", ": none of its query ids ('x1') is in"),
    "other documents": (b"q1\tx\t1\nq2\ty\t1\n", ": none of its document ids ('x', 'y') is in"),
}
