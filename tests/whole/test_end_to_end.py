"""Whole runs on small collections: many scripts, files of other tools, figures that other tools confirm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ir_measures
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from ir_measures import RR, R, Success, nDCG

from collections_on_disk import Pairs, Texts, beir
from commands import run, store
from rerankbench.experiment.tracking.result import Result

CUTOFFS = (1, 3, 5)
EXACTLY = {"abs": 1e-9, "rel": 0}

CHINESE: Texts = (
    ("文一", "大熊猫", "大熊猫是中国特有的熊科动物，主要吃竹子。"),
    ("文二", "北京", "北京是中国的首都，也是全国的文化中心。"),
    ("文三", "长江", "长江是亚洲最长的河流，全长约六千三百公里。"),
    ("文四", "", "水在一百摄氏度时沸腾。"),
    ("文五", "天气", "今天天气很好，我们去公园看书。"),
)
JAPANESE: Texts = (
    ("ja-1", "富士山", "富士山は日本で一番高い山です。"),
    ("ja-2", "東京", "日本の首都は東京です。人々が多い。"),
    ("ja-3", "", "新幹線は時速三百キロで走ります。"),
    ("ja-4", "桜", "桜は春に咲く花です。"),
    ("ja-5", "ﾗｰﾒﾝ", "ラーメンは人気のある麺料理です。"),
)
ARABIC: Texts = (
    ("ar-1", "القاهرة", "القاهرة مدينة كبيرة في مصر، وفيها نهر النيل."),
    ("ar-2", "باريس", "باريس هي عاصمة فرنسا."),
    ("ar-3", "", "طوكيو عاصمة اليابان ومدينة كبيرة."),
    ("ar-4", "الماء", "يغلي الماء عند مئة درجة مئوية."),
    ("ar-5", "القمر", "القمر تابع للأرض."),
)
HINDI: Texts = (
    ("hi-1", "गंगा", "गंगा भारत की सबसे लंबी नदी है।"),
    ("hi-2", "दिल्ली", "नई दिल्ली भारत की राजधानी है।"),
    ("hi-3", "", "पेरिस फ्रांस की राजधानी है।"),
    ("hi-4", "पानी", "पानी सौ डिग्री पर उबलता है।"),
    ("hi-5", "पुस्तक", "क्‍षमा पुस्तक का नाम है।"),
)
QUERIES: dict[str, tuple[Texts, Texts, Pairs]] = {
    "chinese": (
        CHINESE,
        (("问一", "", "大熊猫吃什么？"), ("问二", "", "中国的首都在哪里？"), ("问三", "", "哪条河流最长？")),
        (
            ("问一", "文一", 2),
            ("问二", "文二", 2),
            ("问二", "文一", 0),
            ("问三", "文三", 1),
            ("问三", "文二", 1),
        ),
    ),
    "japanese": (
        JAPANESE,
        (("q1", "", "日本で一番高い山は？"), ("q2", "", "日本の首都はどこですか"), ("q3", "", "春に咲く花")),
        (("q1", "ja-1", 2), ("q2", "ja-2", 2), ("q2", "ja-1", 1), ("q3", "ja-4", 1), ("q3", "なし", 1)),
    ),
    "arabic": (
        ARABIC,
        (
            ("س١", "", "ما هي عاصمة فرنسا؟"),
            ("س٢", "", "مدينة كبيرة على نهر النيل"),
            ("س٣", "", "متى يغلي الماء"),
        ),
        (("س١", "ar-2", 2), ("س١", "ar-3", 1), ("س٢", "ar-1", 1), ("س٣", "ar-4", 2)),
    ),
    "hindi": (
        HINDI,
        (("प्र१", "", "भारत की राजधानी क्या है?"), ("प्र२", "", "सबसे लंबी नदी"), ("प्र३", "", "पानी कब उबलता है")),
        (("प्र१", "hi-2", 2), ("प्र१", "hi-3", 1), ("प्र२", "hi-1", 1), ("प्र३", "hi-4", 2)),
    ),
}


def rerankbench(models: Path, folder: Path, *words: str) -> Result:
    """Run the command on `folder / data` with tiny models; its result, from the output folder."""
    common = [
        "dataset=beir", f"dataset.path={folder / 'data'}", "tracking=none", "device=cpu", "precision=fp32",
        f"embedder.model={models / 'bge-m3'}", "embedder.pooling=cls", "reranker=base",
        f"reranker.model={models / 'base'}", "candidates=5", f"cutoffs={list(CUTOFFS)}".replace(" ", ""),
        "report.measure=ndcg_at_3", f"cache_dir={folder / 'cache'}", f"hydra.run.dir={folder / 'out'}",
    ]  # fmt: skip
    assert run(*common, *words) == 0
    return Result.read(folder / "out")


def their_means(qrels: Path, ranked: Path) -> dict[str, float]:
    """What ir_measures says about two exported files, in our names."""
    kinds = {"ndcg": nDCG, "recall": R, "mrr": RR, "success": Success}
    asked = {f"{name}_at_{k}": kind @ k for name, kind in kinds.items() for k in CUTOFFS}
    found = ir_measures.calc_aggregate(
        list(asked.values()),
        list(ir_measures.read_trec_qrels(str(qrels))),
        list(ir_measures.read_trec_run(str(ranked))),
    )
    return {name: found[measure] for name, measure in asked.items()}


def confirm(result: Result, folder: Path) -> None:
    """Other tools read our files and get our figures."""
    for stage, file in (("first_stage", "candidates.trec"), ("reranked", "reranked.trec")):
        ours = {
            name: value for name, value in result.measures[stage].items() if not name.startswith("judged")
        }
        assert their_means(folder / "qrels.trec", folder / file) == pytest.approx(ours, **EXACTLY)


@pytest.mark.parametrize("language", QUERIES)
@pytest.mark.parametrize("stage", ["bm25", "dense", "hybrid"])
def test_every_script_end_to_end(language: str, stage: str, models: Path, tmp_path: Path) -> None:
    documents, queries, judgements = QUERIES[language]
    beir(tmp_path / "data", documents, queries, judgements)
    words = [f"first_stage={stage}", *([] if stage == "dense" else [f"first_stage.language={language}"])]
    result = rerankbench(models, tmp_path, *words)
    confirm(result, tmp_path / "out")
    assert result.dataset["docs"] == 5
    assert pq.read_table(tmp_path / "out" / "per_query.parquet")["query_id"].unique().to_pylist() == [
        query_id for query_id, _, _ in queries
    ]
    texts = pq.read_table(tmp_path / "out" / "texts.parquet").to_pylist()
    written = {row["id"]: row["text"] for row in texts if row["kind"] == "document"}
    assert written == {
        i: f"{title} {text}" if title else text for i, title, text in documents if i in written
    }
    if stage == "bm25":  # words alone suffice for every question here
        assert result.measures["first_stage"]["success_at_1"] == 1.0


UNUSUAL: Texts = (
    ("cafe\u0301", "", "cafe\u0301 composed of two"),  # NFD
    ("caf\u00e9", "", "caf\u00e9 composed of one"),  # NFC
    ("Ａ１", "", "Ｆｕｌｌ ｗｉｄｔｈ １２３"),
    ("क्\u200dष", "", "क्\u200dष with a joiner, 👩\u200d👩\u200d👧 too"),
    ("rtl", "", "\u200fשלום\u200e \u2067مرحبا\u2069"),
)


def test_text_and_ids_come_out_as_they_went_in(models: Path, tmp_path: Path) -> None:
    queries = (("q\u0301", "", "cafe\u0301"), ("\u1e9bq", "", "Ｆｕｌｌ ＣＡＦÉ"), ("३", "", "क्\u200dष"))
    judgements = [
        (query, document, 1) for (query, _, _), (document, _, _) in zip(queries, UNUSUAL, strict=False)
    ]
    beir(tmp_path / "data", UNUSUAL, queries, judgements)
    confirm(rerankbench(models, tmp_path), tmp_path / "out")
    query_ids, doc_ids = [row[0] for row in queries], {row[0] for row in UNUSUAL}
    for name in ("candidates.trec", "reranked.trec"):
        lines = [line.split(" ") for line in (tmp_path / "out" / name).read_text("utf-8").splitlines()]
        assert list(dict.fromkeys(line[0] for line in lines)) == query_ids
        assert {line[2] for line in lines} == doc_ids
    for name in ("per_query", "scores"):
        table = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert table["query_id"].unique().to_pylist() == query_ids
    texts = pq.read_table(tmp_path / "out" / "texts.parquet").to_pylist()
    assert {row["id"]: row["text"] for row in texts} == {i: text for i, _, text in (*queries, *UNUSUAL)}


# --- first_stage=run ---

LISTS = {
    "问一": {"文一": 3.5, "文三": 3.5, "文五": 1.25},
    "问二": {"文二": 9.0, "文一": -1.0},
    "问三": {"文四": 0.5},
}


def run_files(folder: Path) -> Iterator[Path]:
    """The same run as Anserini, ranx, BEIR and PyTerrier write it."""
    flat = [(q, d, rank, s) for q, of in LISTS.items() for rank, (d, s) in enumerate(of.items(), start=1)]
    trec = folder / "anserini.trec"
    trec.write_text("".join(f"{q} Q0 {d} {rank} {s} Anserini\n" for q, d, rank, s in flat), encoding="utf-8")
    yield trec
    nested = folder / "beir.json"
    nested.write_text(json.dumps(LISTS), encoding="utf-8")
    yield nested
    columns = list(zip(*flat, strict=True))
    ranx = folder / "ranx.parquet"
    pq.write_table(pa.table({"q_id": columns[0], "doc_id": columns[1], "score": columns[3]}), ranx)
    yield ranx
    pyterrier = {"qid": columns[0], "docno": columns[1], "rank": columns[2], "score": columns[3]}
    frame = folder / "pyterrier.parquet"
    pq.write_table(pa.table({name: list(values) for name, values in pyterrier.items()}), frame)
    yield frame


def test_runs_of_other_tools_are_the_same_candidates(models: Path, tmp_path: Path) -> None:
    beir(tmp_path / "data", *QUERIES["chinese"])
    found = []
    for file in run_files(tmp_path):
        result = rerankbench(models, tmp_path, "first_stage=run", f"first_stage.path={file}")
        confirm(result, tmp_path / "out")
        out = tmp_path / "out"
        found.append(
            (
                pq.read_table(out / "scores.parquet").to_pylist(),
                result.measures,
                # the tag is the arm's name, which tells the files apart
                [line.rpartition(" ")[0] for line in (out / "reranked.trec").read_text().splitlines()],
            )
        )
        listed: dict[str, list[str]] = {}
        for row in found[-1][0]:
            listed.setdefault(row["query_id"], []).append(row["doc_id"])
        assert listed == {query: list(of) for query, of in LISTS.items()}
    assert len(found) == 4
    assert all(other == found[0] for other in found[1:])


# --- options of the collection ---


@pytest.mark.parametrize("joined", [True, False])
def test_titles_are_searched_and_reranked_where_they_are_joined(
    joined: bool, models: Path, tmp_path: Path
) -> None:
    documents = (
        ("a", "Zebra", "an animal with stripes"),
        ("b", "", "a horse"),
        ("c", "Lion", "another animal"),
    )
    beir(tmp_path / "data", documents, (("q", "", "zebra"),), (("q", "a", 1),))
    result = rerankbench(models, tmp_path, "first_stage=bm25", f"dataset.join_titles={joined}".lower())
    assert result.measures["first_stage"]["recall_at_5"] == float(joined)
    texts = {row["id"]: row["text"] for row in pq.read_table(tmp_path / "out" / "texts.parquet").to_pylist()}
    assert texts.get("a") == ("Zebra an animal with stripes" if joined else None)


@pytest.mark.parametrize("option", ["dataset.limit_queries=1", "dataset.sample_docs=4", None])
def test_a_quick_look_is_marked_everywhere(
    option: str | None, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    from rerankbench.commands.report import main as report

    beir(tmp_path / "data", *QUERIES["chinese"])
    uri = store(tmp_path)
    result = rerankbench(
        models, tmp_path, "tracking=mlflow", f"tracking.uri={uri}", *([option] if option else [])
    )
    reduced = option is not None
    assert result.reduced is reduced
    assert ("reduced: a quick look, not a result" in capsys.readouterr().out) is reduced
    assert result.mlflow_run_id
    tags = MlflowClient(uri).get_run(result.mlflow_run_id).data.tags
    assert tags["reduced"] == str(reduced).lower()
    assert report([str(tmp_path / "out"), "report.measure=ndcg_at_3"]) == 0
    written = [file for file in (tmp_path / "out").rglob("*") if file.suffix in (".html", ".md")]
    assert written
    for file in written:
        assert bool(re.search("reduced.*quick look", file.read_text("utf-8"))) is reduced, file


# --- exported figures ---


def test_tied_scores_are_measured_alike(models: Path, tmp_path: Path) -> None:
    """Copies of a text tie in every model; ids are such that trec_eval's own order of ties would differ."""
    documents = [(f"d{n}", "", "Paris is the capital of France.") for n in range(4)] + [
        ("z", "", "Mars has moons.")
    ]
    queries = (("1", "", "capital of France?"), ("2", "", "moons of Mars?"))
    judgements = (("1", "d1", 2), ("1", "d3", 1), ("1", "d0", 0), ("2", "z", 1), ("2", "d2", 1))
    beir(tmp_path / "data", documents, queries, judgements)
    listed = tmp_path / "tied.trec"
    rows = [f"{q} Q0 {d} {rank} 1.0 x\n" for q in "12" for rank, (d, _, _) in enumerate(documents, start=1)]
    listed.write_text("".join(rows))
    result = rerankbench(models, tmp_path, "first_stage=run", f"first_stage.path={listed}")
    scores = [row["score"] for row in pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()]
    assert len(set(scores)) == 4  # two texts, two queries: ten candidates, mostly tied
    confirm(result, tmp_path / "out")
    # the document graded 2 stands at rank 2 behind an equal one: first-stage order decides
    per_query = pq.read_table(tmp_path / "out" / "per_query.parquet").to_pylist()
    first = next(row for row in per_query if row["query_id"] == "1" and row["stage"] == "first_stage")
    assert first["mrr_at_5"] == 0.5
    for stage, file in (("first_stage", "candidates.trec"), ("reranked", "reranked.trec")):
        theirs = trec_eval(tmp_path / "out" / "qrels.trec", tmp_path / "out" / file)
        ours = {row["query_id"]: row for row in per_query if row["stage"] == stage and row["depth"] in (0, 5)}
        for query, values in theirs.items():
            assert values["ndcg_cut_3"] == pytest.approx(ours[query]["ndcg_at_3"], **EXACTLY)
            assert values["recall_5"] == pytest.approx(ours[query]["recall_at_5"], **EXACTLY)
            assert values["recip_rank"] == pytest.approx(ours[query]["mrr_at_5"], **EXACTLY)


def trec_eval(qrels: Path, ranked: Path) -> dict[str, Any]:
    with qrels.open() as judged, ranked.open() as listed:
        evaluator = pytrec_eval.RelevanceEvaluator(
            pytrec_eval.parse_qrel(judged), {"ndcg_cut.3", "recall.5", "recip_rank"}
        )
        return evaluator.evaluate(pytrec_eval.parse_run(listed))
