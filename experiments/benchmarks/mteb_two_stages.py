"""mteb's evaluation in two stages of a folder in BEIR layout, with models in folders; see end_to_end.py.

It runs in an environment that has mteb and nothing of this package. Results, and the candidates of the first
stage, are kept in the working folder, where mteb finds them again. nDCG@10 is written into found.json there.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import mteb
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from sentence_transformers import CrossEncoder, SentenceTransformer


class Folder(AbsTaskRetrieval):
    """The collection in `place`, which `main` sets."""

    place: Path
    metadata = mteb.TaskMetadata(
        name="Folder",
        description="A folder in BEIR layout.",
        main_score="ndcg_at_10",
        eval_langs=["eng-Latn"],
        eval_splits=["test"],
        type="Retrieval",
        dataset={"path": "folder", "revision": "1"},
    )

    def load_data(self, num_proc: int | None = None, **_: object) -> None:
        grades: dict[str, dict[str, int]] = {}
        with (self.place / "qrels" / "test.tsv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                grades.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
        texts = {name: read(self.place / f"{name}.jsonl") for name in ("corpus", "queries")}
        self.dataset = {"default": {"test": texts | {"relevant_docs": grades, "top_ranked": None}}}
        self.data_loaded = True


def read(file: Path) -> Dataset:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return Dataset.from_list([{"id": row.pop("_id"), **row} for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "embedder", "reranker"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("depth", "batch-size", "embedder-tokens", "reranker-tokens"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args()
    Folder.place = Path(asked.data)
    settings = {
        "cache": mteb.ResultCache(Path("results")),
        "encode_kwargs": {"batch_size": asked.batch_size},
    }
    # a folder without sentence-transformers' own files is pooled by the mean
    embedder = SentenceTransformer(asked.embedder)
    embedder.max_seq_length = asked.embedder_tokens
    first = mteb.evaluate(embedder, Folder(), prediction_folder="predictions", **settings)
    reranked = mteb.evaluate(
        CrossEncoder(asked.reranker, max_length=asked.reranker_tokens),
        Folder().convert_to_reranking("predictions", top_k=asked.depth),
        **settings,
    )
    found = {"first_stage": first[0].get_score(), "reranked": reranked[0].get_score()}
    Path("found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
