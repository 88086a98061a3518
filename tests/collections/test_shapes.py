"""Documents as frameworks write them: found by themselves, read as what they hold, refused where unclear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import framework_files as ff
from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.collections.sources.objects import read_objects
from rerankbench.collections.sources.rows import new_log

TEXTS = {
    "007": "Paris is the capital of France.",
    "7": 'Берлин "!"\n',
    "c d": "柏林 \u2028 [{}]",
    "e": "",
}
JUDGED = {"7": {"007": 2, "e": 0}, "007": {"c d": 1}}
QUERIES = {key: TEXTS[key] for key in JUDGED}
ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.strip)
texts = st.text(st.characters(codec="utf-8"), max_size=30)


def files(folder: Path, corpus: Path, **keys: str) -> Files:
    """A source of this corpus, and queries and judgements beside it."""
    queries = ff.write(folder / "queries.json", json.dumps(QUERIES))
    qrels = ff.write(folder / "qrels.json", json.dumps(JUDGED))
    return Files(corpus=str(corpus), queries=str(queries), qrels=str(qrels), **keys)


def load(folder: Path, corpus: Path, **keys: str) -> Collection:
    return files(folder, corpus, **keys).load(folder)


def refusal(folder: Path, name: str, content: str, **keys: str) -> str:
    with pytest.raises(UserError) as refused:
        load(folder, ff.write(folder / name, content), **keys)
    return "\n".join(refused.value.problems)


@pytest.mark.parametrize("form", ff.FORMS)
@pytest.mark.parametrize("shape", ff.RECORDS)
def test_every_shape_in_every_form_is_the_same_collection(tmp_path: Path, shape: str, form: str) -> None:
    ending, written = ff.FORMS[form]
    records = [ff.RECORDS[shape](i, text) for i, text in TEXTS.items()]
    found = load(tmp_path, ff.write(tmp_path / f"corpus{ending}", written(records)))
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, JUDGED).fingerprint()


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", ff.WHOLE)
def test_so_is_one_object_around_all(tmp_path: Path, shape: str, indent: int | None) -> None:
    content = json.dumps(ff.WHOLE[shape](TEXTS), indent=indent)
    found = load(tmp_path, ff.write(tmp_path / "corpus.json", content))
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, JUDGED).fingerprint()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.dictionaries(ids, texts, min_size=1, max_size=30), st.sampled_from(sorted(ff.RECORDS)),
       st.sampled_from(sorted(ff.FORMS)))  # fmt: skip
def test_any_texts_survive_any_shape(tmp_path: Path, drawn: dict[str, str], shape: str, form: str) -> None:
    ending, written = ff.FORMS[form]
    corpus = ff.write(tmp_path / f"corpus{ending}", written(ff.RECORDS[shape](*one) for one in drawn.items()))
    queries = ff.write(tmp_path / "queries.json", json.dumps(drawn))
    qrels = ff.write(tmp_path / "qrels.json", json.dumps({i: {i: 1} for i in drawn}))
    found = Files(corpus=str(corpus), queries=str(queries), qrels=str(qrels)).load(tmp_path)
    expected = collection_of(drawn, drawn, {i: {i: 1} for i in drawn})
    assert found.fingerprint() == expected.fingerprint()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.dictionaries(texts, texts | st.integers() | st.lists(texts)), max_size=8),
       size=st.integers(1, 40), indent=st.none() | st.integers(0, 2))  # fmt: skip
def test_an_array_is_decoded_alike_in_pieces_of_any_size(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    items: list[dict[str, object]],
    size: int,
    indent: int | None,
) -> None:
    monkeypatch.setattr("rerankbench.collections.sources.objects._AT_ONCE", size)
    path = ff.write(tmp_path / "list.json", json.dumps(items, indent=indent, ensure_ascii=False))
    log = new_log(path)
    assert list(read_objects(path, lambda item: True, log)) == list(enumerate(items, start=1))
    assert log.problems() == []
