# ruff: noqa: E501 -- a table: one line for each fault
"""The table of bad input: what people get wrong, how it is made, and the words that must be said about it.

A fault is a line of the table: area, name, what the message must hold, and a function that makes it in a
folder of its own and returns the command; where words alone are wrong, also the command with better ones. `test_bad_input.py` runs them all; `fault_table.py` writes
docs/faults.md from what they said.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from collection_faults import CORPUS_FAULTS, QRELS_FAULTS, QUERIES_FAULTS, SEVEN
from collections_on_disk import beir
from served_sweep import small
from strange_runs import whole_run
from tiny_folder import safetensors_bytes


@dataclass(frozen=True)
class Place:
    """Where one fault is made: a fresh folder, and the tiny models, which stay as they are."""

    folder: Path
    models: Path

    @property
    def data(self) -> Path:
        """A good collection in BEIR's layout."""
        data = self.folder / "data"
        return data if data.exists() else beir(data)

    @property
    def done(self) -> Path:
        """A finished run."""
        run = self.folder / "done"
        return run if run.exists() else whole_run(run)

    @property
    def sweep(self) -> Path:
        """A finished sweep with its report and deploy.yaml, whose reranker is a copy of one's own."""
        sweep = self.folder / "measured"
        if not sweep.exists():
            shutil.copytree(small(self.models), sweep)
            shutil.copytree(self.models / "base", self.folder / "model")
            text = (sweep / "deploy.yaml").read_text()
            (sweep / "deploy.yaml").write_text(
                text.replace(str(self.models / "base"), str(self.folder / "model"))
            )
        return sweep

    def rerankbench(self, *words: str) -> list[str]:
        """A small, good command, and then `words`."""
        return [
            "rerankbench", "dataset=beir", f"dataset.path={self.data}", "first_stage=bm25", "reranker=none",
            "tracking=none", "device=cpu", "precision=fp32", "candidates=4", "cutoffs=[1,2]",
            "report.measure=ndcg_at_2", f"cache_dir={self.folder / 'cache'}",
            f"embedder.model={self.models / 'bge-small-en'}", "embedder.pooling=cls",
            f"hydra.run.dir={self.folder / 'out'}", f"hydra.sweep.dir={self.folder / 'sweep'}", *words,
        ]  # fmt: skip

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def model(self, name: str) -> Path:
        """A copy of a tiny model, to be damaged."""
        copy: Path = shutil.copytree(self.models / name, self.folder / "model")
        return copy


Make = Callable[[Place], list[str]]


@dataclass(frozen=True)
class Fault:
    """One line of the table. `{here}` in `said` stands for the fault's folder."""

    area: str
    name: str
    said: str
    make: Make = field(repr=False)
    cure: Make | None = field(default=None, repr=False)
    cured: str = ""

    @property
    def title(self) -> str:
        return f"{self.area}: {self.name}"


# --- ways to make a fault ---


def in_data(name: str, content: bytes) -> Make:
    """A file of a collection holds `content`."""

    def make(place: Place) -> list[str]:
        (place.data / name).write_bytes(content)
        return place.rerankbench()

    return make


def in_files(key: str, name: str, content: bytes | str) -> Make:
    """One of three files of one's own holds `content`."""

    def make(place: Place) -> list[str]:
        data = place.data
        files = {
            "corpus": data / "corpus.jsonl",
            "queries": data / "queries.jsonl",
            "qrels": data / "qrels" / "test.tsv",
            key: place.write(name, content),
        }
        words = [f"dataset.{which}={path}" for which, path in files.items()]
        command = [w for w in place.rerankbench() if not w.startswith("dataset")]
        return [*command, "dataset=files", *words]

    return make


def exchanged(place: Place) -> list[str]:
    """The corpus is given as the queries, and the queries as the corpus."""
    data = place.data
    files = {
        "corpus": data / "queries.jsonl",
        "queries": data / "corpus.jsonl",
        "qrels": data / "qrels" / "test.tsv",
    }
    command = [word for word in place.rerankbench() if not word.startswith("dataset")]
    return [*command, "dataset=files", *(f"dataset.{key}={path}" for key, path in files.items())]


def given_twice(place: Place) -> list[str]:
    """The corpus is given as the queries, too, and nobody has judged any."""
    command = [word for word in place.rerankbench() if not word.startswith("dataset")]
    return [
        *command,
        "dataset=files",
        *(f"dataset.{key}={place.data / 'corpus.jsonl'}" for key in ("corpus", "queries")),
    ]


def in_one_file(name: str, content: bytes | str) -> Make:
    """A whole collection in one file, which holds `content`."""

    def make(place: Place) -> list[str]:
        rest = [word for word in place.rerankbench() if not word.startswith("dataset")]
        return [*rest, "dataset=one_file", f"dataset.path={place.write(name, content)}"]

    return make


def in_run(name: str, content: bytes | str) -> Make:
    """A run file holds `content`."""
    return lambda place: place.rerankbench(
        "first_stage=run", f"first_stage.path={place.write(name, content)}"
    )


def also_run(name: str, content: str, *words: str) -> Make:
    """A run file is read by settings that do not suit it."""
    return lambda place: [*in_run(name, content)(place), *words]


def in_model(name: str, damage: Callable[[Path], Any], *words: str) -> Make:
    """A reranker's folder is damaged."""

    def make(place: Place) -> list[str]:
        folder = place.model(name)
        damage(folder)
        return place.rerankbench(f"reranker={name}", f"reranker.model={folder}", *words)

    return make


def in_embedder(damage: Callable[[Path], Any]) -> Make:
    def make(place: Place) -> list[str]:
        folder = place.model("bge-small-en")
        damage(folder)
        return place.rerankbench("first_stage=dense", f"embedder.model={folder}")

    return make


def in_own(name: str, content: str | bytes, *words: str) -> Make:
    """A file of a stranger's --config-dir holds `content`."""

    def make(place: Place) -> list[str]:
        place.write(f"own/{name}", content)
        return place.rerankbench("--config-dir", str(place.folder / "own"), *words)

    return make


def experiment(hydra: str, *words: str) -> Make:
    """A stranger's experiment sets something of Hydra's own."""
    lines = "\n".join("  " + line for line in hydra.splitlines())
    return in_own("experiment/theirs.yaml", f"# @package _global_\nhydra:\n{lines}\n", "experiment=theirs", *words)  # fmt: skip


def words(*given: str) -> Make:
    """A command whose words alone are wrong: `{here}` is the fault's folder, `{data}` a good collection in
    it, `{models}` the folder of the tiny models, `{done}` a finished run, `{sweep}` one with deploy.yaml."""

    def make(place: Place) -> list[str]:
        places = {"{data}": place.data, "{here}": place.folder, "{models}": place.models}
        found = list(given)
        if any("{done}" in word for word in found):
            places["{done}"] = place.done
        if any("{sweep}" in word for word in found):
            places["{sweep}"] = place.sweep
        for name, path in places.items():
            found = [word.replace(name, str(path)) for word in found]
        return found

    return make


def also(*given: str) -> Make:
    """The good command with wrong words behind it."""
    return lambda place: place.rerankbench(*words(*given)(place))


def with_files(files: dict[str, bytes | str], *given: str) -> Make:
    """Some files, and a command about them."""

    def make(place: Place) -> list[str]:
        for name, content in files.items():
            place.write(name, content)
        return words(*given)(place)

    return make


def prepared(prepare: Callable[[Place], Any], *given: str) -> Make:
    """Anything else, and a command about it: the good one with `given` unless that names a command."""

    def make(place: Place) -> list[str]:
        prepare(place)
        made = words(*given)(place)
        return made if made and made[0].startswith("rerankbench") else place.rerankbench(*made)

    return make


# --- what damages a model's folder ---


def config(**keys: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | keys))

    return damage


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def without(part: str) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        for name in [name for name in held if part in name]:
            del held[name]

    return change


def doubled(held: dict[str, Any]) -> None:
    for name, tensor in held.items():
        held[name] = tensor * 2


def full_of_nan(held: dict[str, Any]) -> None:
    for name, tensor in held.items():
        held[name] = np.full_like(tensor, np.nan)


def cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])

    return damage


def content(name: str, data: bytes | str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def gone(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def index_outside(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    outside = json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}})
    (folder / "model.safetensors.index.json").write_text(outside)


def index_without_files(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    names = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
    (folder / "model.safetensors.index.json").write_text(names)


def index_without_map(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")


def adapter_of_another_kind(place: Place) -> None:
    place.write("adapter/adapter_config.json", '{"peft_type": "IA3"}')
    place.write("adapter/adapter_model.safetensors", safetensors_bytes({"a": [2]}))


def broken_link(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "blobs" / "gone")


def folder_for_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


TOKENIZER = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json")


# --- the table ---


def contents(area: str, file: str, faults: dict[str, tuple[bytes, str]]) -> list[Fault]:
    """The faults of one file of a collection, which collection_faults.py holds."""
    return [Fault(area, name, f"/{file}{said}", in_data(file, data)) for name, (data, said) in faults.items()]


def fifo(place: Place) -> None:
    (place.data / "corpus.jsonl").unlink()
    os.mkfifo(place.data / "corpus.jsonl")


def sock(place: Place) -> None:
    (place.data / "queries.jsonl").unlink()
    before = os.getcwd()
    os.chdir(place.data)  # the path of a socket may have 108 bytes only
    try:
        socket.socket(socket.AF_UNIX).bind("queries.jsonl")
    finally:
        os.chdir(before)


def device(place: Place) -> None:
    (place.data / "queries.jsonl").unlink()
    (place.data / "queries.jsonl").symlink_to("/dev/zero")


def circle(place: Place) -> None:
    (place.data / "corpus.jsonl").unlink()
    (place.data / "corpus.jsonl").symlink_to(place.data / "corpus.jsonl")


def dangling(place: Place) -> None:
    (place.data / "qrels" / "test.tsv").unlink()
    (place.data / "qrels" / "test.tsv").symlink_to(place.folder / "nowhere.tsv")


def folder_for_corpus(place: Place) -> None:
    (place.data / "corpus.jsonl").unlink()
    (place.data / "corpus.jsonl").mkdir()


def no_judgements(place: Place) -> None:
    (place.data / "qrels" / "test.tsv").unlink()


def langchain_ids() -> str:
    """Twenty documents that are known by their sources, and one that has an id."""
    ids = ["7", "c", *map(str, range(100, 118))]
    lines = [{"id": None, "page_content": i, "metadata": {"source": i}} for i in ids]
    return "".join(
        json.dumps(line) + "\n" for line in [*lines, {**lines[0], "id": "d", "metadata": {"source": "e"}}]
    )


def under_other_names(place: Place) -> None:
    """A folder in BEIR's layout but for its files' names."""
    (place.data / "corpus.jsonl").rename(place.data / "Corpus.jsonl")
    (place.data / "qrels" / "test.tsv").rename(place.data / "qrels.tsv")
    (place.data / "qrels").rmdir()


def judgements_beside(place: Place) -> None:
    """The judgements stand beside the texts, where they would pass for none at all."""
    (place.data / "qrels" / "test.tsv").rename(place.data / "qrels-test.tsv")
    (place.data / "qrels").rmdir()


def archive(content: bytes) -> bytes:
    """A tar archive of one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("corpus.jsonl")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def every_file_wrong(place: Place) -> None:
    (place.data / "corpus.jsonl").write_bytes(b"7\n")
    (place.data / "queries.jsonl").write_bytes(b"{\n")
    (place.data / "qrels" / "test.tsv").write_bytes(b"q1\t7\tx\n")


FILES = [
    Fault("files", "a named pipe for the corpus", "corpus.jsonl: is not a regular file", prepared(fifo)),
    Fault("files", "a socket for the queries", "queries.jsonl: is not a regular file", prepared(sock)),
    Fault("files", "a link to a device", "queries.jsonl: is not a regular file", prepared(device)),
    Fault("files", "a link to itself", "corpus.jsonl: there is no such file; it is a link", prepared(circle)),
    Fault("files", "a link that leads nowhere", "test.tsv: there is no such file; it is a link", prepared(dangling)),
    Fault("files", "a folder for the corpus", "corpus.jsonl: is a folder; give a file", prepared(folder_for_corpus)),
    Fault("files", "no judgements", "dataset.split=test: no", prepared(no_judgements)),
    Fault("files", "all three files wrong", "corpus.jsonl:1: is not a JSON object", prepared(every_file_wrong)),
    Fault("files", "a split that leaves the folder", "dataset.split=../../x: no", also("dataset.split=../../x")),
    Fault("files", "an absolute split", "dataset.split=/etc/passwd: no", also("dataset.split=/etc/passwd")),
    Fault("files", "a path of 5,000 letters", "file name too long; give another path", also("dataset.path=" + "x" * 5000)),
    Fault("files", "a file for the folder", "is a file, not a folder", also("dataset.path={data}/corpus.jsonl")),
    Fault("files", "CSV with an open quote", "corpus.csv:2: is not valid CSV", in_files("corpus", "corpus.csv", '_id,text\n7,"open\n')),
    Fault("files", "CSV with a column too many", "corpus.csv:3: has 3 columns instead of 2", in_files("corpus", "corpus.csv", "_id,text\n7,a\nc,b,more\n")),
    Fault("files", "CSV with a column twice", "corpus.csv: two columns are named 'text'", in_files("corpus", "corpus.csv", "_id,text,text\n7,a,b\n")),
    Fault("files", "CSV without a text", "corpus.csv: no column for the text", in_files("corpus", "corpus.csv", "_id,words\n7,a\n")),
    Fault("files", "TSV of three columns, no header", "corpus.tsv:1: has 3 columns, not 2", in_files("corpus", "corpus.tsv", "7\tx\ty\n")),
    Fault("files", "CSV with Excel's separator line", "corpus.csv:1: the columns are named in line 2 only", in_files("corpus", "corpus.csv", "sep=;\n_id;text\n7;a\nc;b\n")),
    Fault("files", "two CSV files joined", "corpus.csv:3: names the columns again", in_files("corpus", "corpus.csv", "_id,text\n7,a\n_id,text\nc,b\n")),
    Fault("files", "a spreadsheet", "corpus.xlsx: is a ZIP archive or a spreadsheet", in_files("corpus", "corpus.xlsx", b"PK\x03\x04\x14\0\x06\0")),
    Fault("files", "gzip without .gz", "corpus.jsonl: is compressed by gzip: add .gz", in_files("corpus", "corpus.jsonl", gzip.compress(b'{"_id": "7", "text": "a"}\n', mtime=0))),
    Fault("files", "judgements with the document first", "its query and document columns are swapped; set dataset.qrels_query_column=2", in_files("qrels", "qrels.tsv", "7\tq1\t1\nc\tq2\t1\n")),
    Fault("files", "BEIR judgements with the document first", "its query and document columns are swapped; put the query's id first", in_data("qrels/test.tsv", b"7\tq1\t1\nc\tq2\t1\n")),
    Fault("files", "corpus and queries exchanged", "corpus and queries are exchanged; set", exchanged),
    Fault("files", "one file as corpus and queries", "the queries are the documents", given_twice),
    Fault("files", "a JSON list, cut off", "corpus.json entry 2: is not valid JSON", in_files("corpus", "corpus.json", '[{"_id": "7", "text": "a"},\n {"_id": "c", "te')),
    Fault("files", "two JSON lists in a file", "corpus.json entry 2: comes after the end of the array", in_files("corpus", "corpus.json", '[{"_id": "7", "text": "a"}]\n[{"_id": "c", "text": "b"}]\n')),
    Fault("files", "a JSON list of texts", "corpus.json entry 1: is not a JSON object: 'a'", in_files("corpus", "corpus.json", '["a", "b"]')),
    Fault("files", "JSON, two lists under keys", "corpus.json: holds more than one list, 'a' and 'b'", in_files("corpus", "corpus.json", '{"a": [{"_id": "7", "text": "a"}], "b": [{"_id": "c", "text": "b"}]}')),
    Fault("files", "JSON by ids, an id twice", "corpus.json: has '7' twice: keep one", in_files("corpus", "corpus.json", '{"7": "a", "7": "b"}')),
    Fault("files", "JSON by ids, two ids for one", "corpus.json entry 1: the key '7' is not the 'id' in it", in_files("corpus", "corpus.json", '{"7": {"id": "8", "text": "a"}}')),
    Fault("files", "JSON by ids, no record", "corpus.json entry 2: 'c' has 3, which is not a record", in_files("corpus", "corpus.json", '{"7": "a", "c": 3}')),
    Fault("files", "JSON over all lines, cut off", "corpus.jsonl: is not valid JSON", in_files("corpus", "corpus.jsonl", '{\n"_id": "7",\n"text": "a"')),
    Fault("files", "two columns for the text", "corpus.csv: 2 columns may hold the text, 'text', 'body'", in_files("corpus", "corpus.csv", "_id,text,body\n7,a,b\n")),
    Fault("files", "a score beside the label", "qrels.csv: 2 columns may hold the grade, 'score', 'label'", in_files("qrels", "qrels.csv", "qid,docno,score,label\nq1,7,0.53,1\n")),
    Fault("files", "yes among numbers", "qrels.csv: 1 of 2 grades are words such as 'yes'", in_files("qrels", "qrels.csv", "qid,docno,label\nq1,7,yes\nq1,c,1\n")),
    Fault("files", "LangChain's chunks without ids", "corpus.json: LangChain documents without an id for each; set dataset.doc_id_column=metadata.chunk", in_files("corpus", "corpus.json", '[{"page_content": "a", "metadata": {"source": "x.txt", "chunk": "7"}}, {"page_content": "b", "metadata": {"source": "x.txt", "chunk": "c"}}]')),
    Fault("files", "LangChain's documents without any id", "corpus.json: LangChain documents without an id for each; give every one an id", in_files("corpus", "corpus.json", '[{"page_content": "a", "metadata": {}}, {"page_content": "a", "metadata": {}}]')),
    Fault("files", "LangChain's documents, one with an id", "corpus.jsonl:21: has 'id', which the records before it lack", in_files("corpus", "corpus.jsonl", langchain_ids())),
    Fault("files", "ranks of a run", "as the ranks of a run do: give the judgements, or, if these are grades, set dataset.qrels_query_column=1", in_files("qrels", "qrels.tsv", "q1\t7\t1\nq1\tc\t2\nq1\td\t3\nq1\te\t4\nq1\tf\t5\n")),
    Fault("files", "a whole collection as the corpus", "corpus.jsonl: holds a whole collection, FlagEmbedding's lines; give it alone", in_files("corpus", "corpus.jsonl", '{"query": "a", "pos": ["b"]}\n')),
    Fault("files", "texts without ids", "corpus.txt:1: has no tab between id and text", in_files("corpus", "corpus.txt", "paris is the capital\nberlin too\n")),
    Fault("files", "no parquet", "corpus.parquet: cannot be read as parquet", in_files("corpus", "corpus.parquet", "PAR1 but not really")),
    Fault("files", "cut-off gzip", "corpus.jsonl.gz: cannot be read", in_files("corpus", "corpus.jsonl.gz", gzip.compress(b'{"_id": "7", "text": "a"}\n', mtime=0)[:-9])),
    Fault("files", "not gzip", "corpus.jsonl.gz: is not compressed: take .gz off its name", in_files("corpus", "corpus.jsonl.gz", '{"_id": "7", "text": "a"}\n')),
    Fault("files", "UTF-16 without a mark", "corpus.jsonl:1: holds a NUL byte", in_files("corpus", "corpus.jsonl", '{"_id": "7", "text": "a"}'.encode("utf-16-le"))),
    Fault("files", "UTF-32", "corpus.jsonl:1: starts with the mark of UTF-32", in_files("corpus", "corpus.jsonl", '{"_id": "7", "text": "a"}\n'.encode("utf-32"))),
    Fault("files", "Windows-1252 quotes in a query", "queries.jsonl:1: is not UTF-8: byte 0x93", in_files("queries", "queries.jsonl", b'{"_id": "q1", "text": "\x93x\x94"}\n')),
    Fault("files", "Shift JIS", "queries.tsv:1: is not UTF-8", in_files("queries", "queries.tsv", "q1\t首都\n".encode("shift_jis"))),
    Fault("files", "JSON judgements, a list on top", "qrels.json: holds [['q1', '7', 1]] at the top", in_files("qrels", "qrels.json", '[["q1", "7", 1]]')),
    Fault("files", "JSON judgements, cut off", "qrels.json: is not valid JSON", in_files("qrels", "qrels.json", '{"q1": {"7": 1}')),
    Fault("files", "JSON judgements, a query twice", "entry 2: query 'q1' appears twice", in_files("qrels", "qrels.json", '{"q1": {"7": 1}, "q1": {"c": 1}}')),
    Fault("files", "JSON judgements, grade 1.5", "qrels.json entry 1: the grade is 1.5", in_files("qrels", "qrels.json", '{"q1": {"7": 1.5}}')),
    Fault("files", "JSON judgements, true among numbers", "qrels.json: 1 of 2 grades are words such as 'true'", in_files("qrels", "qrels.json", '{"q1": {"7": true, "c": 1}}')),
    Fault("files", "TREC judgements, an id with a space", "qrels.trec:2: has 5 columns instead of 4", in_files("qrels", "qrels.trec", "q1 0 7 1\nq1 0 my doc 1\n")),
    Fault("files", "JSON lines called text", "corpus.txt:1: holds JSON: give its name the ending .jsonl", in_files("corpus", "corpus.txt", SEVEN)),
    Fault("files", "a comment above judgements", "qrels.trec:1: is a comment: take such lines out", in_files("qrels", "qrels.trec", "# judged by two\nq1 0 7 1\n")),
    Fault("files", "CSV with backslashes before quotes", "corpus.csv:2: is not valid CSV (',' expected after '\"'): quote fields that hold commas, quotes or line ends, and write each quote inside them twice", in_files("corpus", "corpus.csv", '_id,text\n7,"a \\"quoted\\" word"\n')),
    Fault("files", "texts before their ids", "corpus.tsv:1: the texts seem to stand first and the ids behind them: say which: dataset.doc_id_column=2 dataset.text_column=1", in_files("corpus", "corpus.tsv", "Paris is a capital\t7\nBerlin is one too\tc\n")),
    Fault("files", "compressed twice", "corpus.jsonl.gz: is compressed by gzip twice: decompress it once", in_files("corpus", "corpus.jsonl.gz", gzip.compress(gzip.compress(SEVEN, mtime=0), mtime=0))),
    Fault("files", "gzip by another name", "corpus.jsonl.gzip: is compressed by gzip: call it corpus.jsonl.gz", in_files("corpus", "corpus.jsonl.gzip", gzip.compress(SEVEN, mtime=0))),
    Fault("files", "an archive for the corpus", "corpus.jsonl.gz: is a tar archive: unpack it and give the file inside", in_files("corpus", "corpus.jsonl.gz", archive(SEVEN))),
    Fault("files", "parquet compressed once more", "corpus.parquet: is compressed by gzip: decompress it, parquet is compressed inside", in_files("corpus", "corpus.parquet", gzip.compress(b"PAR1", mtime=0))),
    Fault("files", "an Arrow file called parquet", "corpus.parquet: is an Arrow file, which is not read: write it as parquet", in_files("corpus", "corpus.parquet", b"ARROW1\0\0")),
    Fault("files", "judgements by query, a query a line", "qrels.jsonl: holds {query: {document: number}}; write one object around all queries into a file that ends in .json", in_files("qrels", "qrels.jsonl", '{"q1": {"7": 1}}\n{"q2": {"c": 1}}\n')),
    Fault("files", "BEIR files under other names", "holds a collection under other names; instead of dataset.path, give dataset=files", prepared(under_other_names)),
    Fault("files", "BEIR judgements beside the texts", "holds a collection under other names; instead of dataset.path, give dataset=files", prepared(judgements_beside)),
    Fault("files", "one file without records", "train.json: holds no record: check the file", in_one_file("train.json", "[]")),
    Fault("files", "a passage where a list belongs", "train.jsonl:1: 'pos' is 'b': write a list of passages", in_one_file("train.jsonl", '{"query": "a", "pos": "b"}\n')),
    Fault("files", "a picture for the judgements", "qrels.tsv:1: ", in_files("qrels", "qrels.tsv", b"\x89PNG\0\0\0\rIHDR")),
]  # fmt: skip

LINE = "q1 Q0 007 1 2 t\n"


def bad_line(name: str, line: str | bytes, said: str) -> Fault:
    """One wrong line between good ones."""
    data = line.encode() if isinstance(line, str) else line
    whole = LINE.encode() + data + b"\nq1 Q0 7 3 0.5 t\n"
    return Fault("run files", name, f"run.trec:2: {said}", in_run("run.trec", whole))


def score(name: str, value: str) -> Fault:
    return bad_line(name, f"q1 Q0 c 2 {value} t", f"the score is '{value}'")


RUNS = [
    score("a score that is NaN", "nan"),
    score("an infinite score", "-inf"),
    score("a score beyond double precision", "1e999"),
    score("a score beyond single precision", "4e38"),
    score("a word for a score", "high"),
    score("a score with an underscore", "1_0"),
    score("a score in other digits", "٣"),
    score("a score with a comma", "0,5"),
    score("a hexadecimal score", "0x1p3"),
    bad_line("a word for a rank", "q1 Q0 c two 1 t", "the rank is 'two': it must be a whole number"),
    bad_line("a fractional rank", "q1 Q0 c 1.5 1 t", "the rank is '1.5'"),
    bad_line("a rank of 20 digits", f"q1 Q0 c {'9' * 20} 1 t", f"the rank is '{'9' * 20}'"),
    bad_line("an id with a space", "q1 Q0 my doc 1 1 t", "has 7 columns instead of 6"),
    bad_line("a column too few", "q1 Q0 c 2 1", "has 5 columns instead of 6"),
    bad_line("a document twice", "q1 Q0 007 2 1 t", "query 'q1' has document '007' twice, first in line 1"),
    bad_line("a NUL byte", b"q1 Q0 c\0 2 1 t", "holds a NUL byte at byte offset 23"),
    bad_line("Latin-1", b"q1 Q0 caf\xe9 2 1 t", "is not UTF-8: byte 0xe9"),
    Fault("run files", "an empty file", "run.trec: the file is empty", in_run("run.trec", "")),
    Fault("run files", "only blank lines", "none of its query ids (it is empty)", in_run("run.trec", "\n \n")),
    Fault("run files", "UTF-16", "run.trec:1: starts with the mark of UTF-16", in_run("run.trec", LINE.encode("utf-16"))),
    Fault("run files", "a run of other queries", "none of its query ids ('x') is in", in_run("run.trec", "x Q0 007 1 1 t\n")),
    Fault("run files", "a run of other documents", "none of its document ids ('x') is in", in_run("run.trec", "q1 Q0 x 1 1 t\n")),
    Fault("run files", "judgements for a run", "run.trec:1: has 4 columns, not 3, 5 or 6, and no header", in_run("run.trec", "q1 0 7 1\n")),
    Fault("run files", "JSON, cut off", "run.json: is not valid JSON", in_run("run.json", '{"q1": {"007": 1}')),
    Fault("run files", "JSON, a list on top", "run.json: holds [1] at the top", in_run("run.json", "[1]")),
    Fault("run files", "JSON, NaN", "run.json entry 1: the score is nan", in_run("run.json", '{"q1": {"007": NaN}}')),
    Fault("run files", "JSON, Infinity", "run.json entry 1: the score is inf", in_run("run.json", '{"q1": {"007": Infinity}}')),
    Fault("run files", "JSON, true", "run.json entry 1: the score is True", in_run("run.json", '{"q1": {"007": true}}')),
    Fault("run files", "JSON, null", "run.json entry 1: the score is None", in_run("run.json", '{"q1": {"007": null}}')),
    Fault("run files", "JSON, a document twice", "query 'q1' has document '007' twice", in_run("run.json", '{"q1": {"007": 1, "007": 2}}')),
    Fault("run files", "JSON, 5,000 digits", "run.json", in_run("run.json", '{"q1": {"007": ' + "1" * 5000 + "}}")),
    Fault("run files", "JSON, nested 100,000 deep", "run.json: is not valid JSON", in_run("run.json", "[" * 100_000)),
    Fault("run files", "JSON, one answer of a search engine", "run.json entry 1: query 'took' has 1", in_run("run.json", '{"took": 1, "hits": {"hits": []}}')),
    Fault("run files", "JSON, hits without scores", "run.json entry 1: no column for the score", in_run("run.json", '{"q1": [{"_id": "007"}]}')),
    Fault("run files", "JSON, an object a line", "one object per line has the ending .jsonl", in_run("run.json", '{"qid": "q1"}\n{"qid": "q2"}\n')),
    Fault("run files", "CSV without scores", "run.csv: no column for the score", in_run("run.csv", "qid,docno,points\nq1,007,1\n")),
    Fault("run files", "CSV with a header of its own", "name its columns: first_stage.query_column=vraag first_stage.doc_column=stuk first_stage.score_column=punten", in_run("run.csv", "vraag,stuk,punten\nq1,007,1\n")),
    Fault("run files", "JSONL, a list for a score", "run.jsonl:1: the score is [1]", in_run("run.jsonl", '{"qid": "q1", "docno": "007", "score": [1]}\n')),
    Fault("run files", "no parquet", "run.parquet: cannot be read as parquet", in_run("run.parquet", "x")),
    Fault("run files", "cut-off gzip", "run.trec.gz: cannot be read", in_run("run.trec.gz", gzip.compress(LINE.encode(), mtime=0)[:-9])),
    Fault("run files", "the document first", "its query and document columns are swapped; set first_stage.query_column=2", in_run("run.csv", "007,q1,2.5\n7,q1,1.5\n")),
    Fault("run files", "ranks for scores", "the lowest rank is best, but the highest score; leave it out", also_run("run.csv", "qid,docno,rank\nq1,007,1\nq1,7,2\n", "first_stage.score_column=rank")),
    Fault("run files", "ranks and scores exchanged", "its scores count 1, 2, 3 for each query, its ranks do not: are the two columns exchanged?", in_run("run.trec", "q1 Q0 007 30 1 t\nq1 Q0 7 20 2 t\nq1 Q0 c 10 3 t\n")),
    Fault("run files", "JSON, three numbers for a document", "run.json entry 1: query 'q1' has [['007', 1, 2]]", in_run("run.json", '{"q1": [["007", 1, 2]]}')),
    Fault("run files", "a folder", "is a folder; give a file", also("first_stage=run", "first_stage.path={data}")),
    Fault("run files", "a device", "/dev/null: is not a regular file", also("first_stage=run", "first_stage.path=/dev/null")),
]  # fmt: skip

MODELS = [
    Fault("models", "an embedder for a reranker", "holds BertModel, not a sequence classifier", lambda p: p.rerankbench("reranker=base", f"reranker.model={p.models / 'bge-small-en'}")),
    Fault("models", "a reranker for an embedder", "holds XLMRobertaForSequenceClassification, a reranker", lambda p: p.rerankbench("first_stage=dense", f"embedder.model={p.models / 'base'}")),
    Fault("models", "an encoder for gemma", "holds XLMRobertaForSequenceClassification, not a plain causal", lambda p: p.rerankbench("reranker=gemma", f"reranker.model={p.models / 'base'}")),
    Fault("models", "gemma for an encoder", "holds GemmaForCausalLM, not a sequence classifier", lambda p: p.rerankbench("reranker=base", f"reranker.model={p.models / 'gemma'}")),
    Fault("models", "gemma for lightweight", "family lightweight needs CostWiseGemmaForCausalLM", lambda p: p.rerankbench("reranker=lightweight", f"reranker.model={p.models / 'gemma'}")),
    Fault("models", "lightweight for layerwise", "family layerwise needs LayerWiseMiniCPMForCausalLM", lambda p: p.rerankbench("reranker=minicpm-layerwise", f"reranker.model={p.models / 'lightweight'}")),
    Fault("models", "a layer that has no head", "no scoring head at layer 99; choose from 2 to 6", lambda p: p.rerankbench("reranker=minicpm-layerwise", f"reranker.model={p.models / 'minicpm-layerwise'}", "reranker.cutoff_layers=[99]")),
    Fault("models", "three labels", "has 3 labels; a reranker needs exactly one", in_model("base", config(id2label=dict.fromkeys("012", "x"), num_labels=3))),
    Fault("models", "no tokenizer", "no tokenizer; copy its files there", in_model("base", gone(*TOKENIZER))),
    Fault("models", "an empty tokenizer", "cannot be loaded as a model (Exception: 'Model missing", in_model("base", content("tokenizer.json", "{}"))),
    Fault("models", "a cut-off tokenizer", "cannot be loaded as a model (Exception: 'EOF while parsing", in_model("base", cut("tokenizer.json"))),
    Fault("models", "a broken tokenizer_config.json", "tokenizer_config.json: not readable as JSON", in_model("base", content("tokenizer_config.json", "{"))),
    Fault("models", "no config.json", "no config.json, so this is not a model folder", in_model("base", gone("config.json"))),
    Fault("models", "a broken config.json", "config.json: not readable as JSON", in_model("base", content("config.json", "{"))),
    Fault("models", "config.json in UTF-16", "config.json: not readable as JSON", in_model("base", content("config.json", "{}".encode("utf-16")))),
    Fault("models", "a list for config.json", "config.json: not a JSON object", in_model("base", content("config.json", "[]"))),
    Fault("models", "a folder for config.json", "no config.json, so this is not a model folder", in_model("base", folder_for_config)),
    Fault("models", "a text for the number of layers", "num_hidden_layers", in_model("base", config(num_hidden_layers="two"))),
    Fault("models", "a number for the architecture", "architectures", in_model("base", config(architectures=[5]))),
    Fault("models", "no architecture", "holds unknown, not a sequence classifier", in_model("base", config(architectures=None))),
    Fault("models", "an unknown kind of model", "zorg", in_model("base", config(model_type="zorg"))),
    Fault("models", "no weights", "no weights; model.safetensors", in_model("base", gone("model.safetensors"))),
    Fault("models", "pickle weights only", "only pickle weights (pytorch_model.bin), which can run code", in_model("base", only_pickle)),
    Fault("models", "cut-off weights", "model.safetensors: cut off", in_model("base", cut("model.safetensors"))),
    Fault("models", "weights of three bytes", "model.safetensors: cut off or not safetensors (3 bytes)", in_model("base", content("model.safetensors", b"abc"))),
    Fault("models", "a git-lfs pointer", "model.safetensors: a git-lfs pointer instead of the weights", in_model("base", content("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"))),
    Fault("models", "a header that is no JSON", "model.safetensors: cut off or not safetensors (12 bytes): invalid JSON in header", in_model("base", content("model.safetensors", b"\x04" + bytes(7) + b"####"))),
    Fault("models", "bytes behind the weights", "file not fully covered", in_model("base", content("model.safetensors", safetensors_bytes({"a": [2]}) + b"more"))),
    Fault("models", "weights that are not the model's", "its weight files lack", in_model("base", content("model.safetensors", safetensors_bytes({"a": [2]})))),
    Fault("models", "weights without the classifier", "classifier", in_model("base", tensors(without("classifier")))),
    Fault("models", "weights without a layer", "layer.1.", in_model("base", tensors(without("layer.1.")))),
    Fault("models", "no room for a token", "max_position_embeddings is 0 and pad_token_id 1", in_model("base", config(max_position_embeddings=0))),
    Fault("models", "a broken modules.json", "computes scores with something unreadable", in_model("base", content("modules.json", "{"))),
    Fault("models", "an index without a map", "model.safetensors.index.json: no weight_map in it; fetch the model again", in_model("base", index_without_map)),
    Fault("models", "an adapter of another kind", "is of kind 'IA3', not LORA", prepared(adapter_of_another_kind, "reranker=base", "reranker.model={models}/base", "reranker.adapter={here}/adapter")),
    Fault("models", "a head that there is not", "reranker.head=last: choose first (as FlagEmbedding) or by_layer", also("reranker=lightweight", "reranker.model={models}/lightweight", "reranker.head=last")),
    Fault("models", "a page of the hub", "give the id alone, BAAI/bge-reranker-base", also("reranker=base", "reranker.model=https://huggingface.co/BAAI/bge-reranker-base/tree/main")),
    Fault("models", "a revision behind the name", "give the id alone, BAAI/bge-reranker-base, and its revision as revision=main", also("reranker=base", "reranker.model=BAAI/bge-reranker-base@main")),
    Fault("models", "weights of another width", "in its weight files, but", in_model("base", config(hidden_size=16, intermediate_size=32))),
    Fault("models", "weights that are NaN", "not finite", in_model("base", tensors(full_of_nan))),
    Fault("models", "a file of the index is missing", "this weight file is missing", in_model("base", index_without_files)),
    Fault("models", "an index that leaves the folder", "names '../elsewhere.safetensors', which is outside", in_model("base", index_outside)),
    Fault("models", "a link to nothing", "model.safetensors: a link to a file that is not there", in_model("base", broken_link)),
    Fault("models", "a LoRA adapter", "a LoRA adapter; merge it", in_model("base", content("adapter_config.json", "{}"))),
    Fault("models", "a file for the folder", "not a folder; give a model's folder", also("reranker=base", "reranker.model={data}/corpus.jsonl")),
    Fault("models", "a path with ..", "{here}/nowhere: no such folder", also("reranker=base", "reranker.model={here}/x/../nowhere")),
    Fault("models", "neither folder nor hub id", "no such folder, and not a hub id either", also("reranker=base", "reranker.model=my model")),
    Fault("models", "a revision with ..", "not a branch, tag or commit", also("reranker=base", "reranker.revision=../x")),
    Fault("models", "an embedder without a tokenizer", "no tokenizer; copy its files there", in_embedder(gone(*TOKENIZER))),
    Fault("models", "an embedder without a layer", "layer.1.", in_embedder(tensors(without("layer.1.")))),
    Fault("models", "an embedder's pickle weights", "only pickle weights", in_embedder(only_pickle)),
    Fault("models", "an embedder of NaN", "not finite", in_embedder(tensors(full_of_nan))),
]  # fmt: skip


# --- a stranger's --config-dir ---


def taken(name: str, hydra: str, said: str, *more: str) -> Fault:
    return Fault("strangers' configs", name, said, experiment(hydra, *more))


CODE = "a config cannot set this; take it out, or give it on the command line"
STRANGERS = [
    taken("a callback of their own", "callbacks:\n  x: {_target_: pathlib.Path.touch, _args_: [{_target_: pathlib.Path, _args_: [SPRUNG]}]}", "hydra.callbacks.x._target_=pathlib.Path.touch, "),
    taken("a function of ours as a callback", "callbacks:\n  x: {_target_: rerankbench.engine.store.rows.write_atomic, data: x}", "_target_=rerankbench.engine.store.rows.write_atomic, "),
    taken("a callback of Hydra's that pickles", "callbacks:\n  x: {_target_: hydra.experimental.callbacks.PickleJobInfoCallback}", f"PickleJobInfoCallback: {CODE}"),
    taken("a callback inside one of ours", "callbacks:\n  report:\n    x: {_target_: os.mkdir, path: SPRUNG}", "hydra.callbacks.report.x._target_=os.mkdir, "),
    taken("a target by interpolation", "callbacks:\n  x: {_target_: '${hydra.job.name}'}", CODE),
    taken("a callback out of a resolver", "callbacks:\n  x: '${oc.create:\"{_target_: os.mkdir, path: SPRUNG}\"}'", "hydra.callbacks.x="),
    taken("a callback out of another key", "env: {evil: {_target_: os.mkdir, path: SPRUNG}}\ncallbacks:\n  x: ${hydra.env.evil}", f"hydra.callbacks.x=${{hydra.env.evil}}: {CODE}"),
    Fault("strangers' configs", "a launcher of their own", "hydra.launcher._target_=os.mkdir", in_own("hydra/launcher/theirs.yaml", '_target_: os.mkdir\npath: SPRUNG\n', "-m", "hydra/launcher=theirs")),
    Fault("strangers' configs", "a sweeper of their own", "hydra.sweeper._target_=os.mkdir", in_own("hydra/sweeper/theirs.yaml", '_target_: os.mkdir\npath: SPRUNG\n', "-m", "hydra/sweeper=theirs")),
    Fault("strangers' configs", "something built inside the launcher", f"hydra.launcher.x._target_=os.mkdir, hydra.launcher.x.path=SPRUNG: {CODE}", in_own("hydra/launcher/theirs.yaml", '_target_: hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher\nx: {_target_: os.mkdir, path: SPRUNG}\n', "-m", "hydra/launcher=theirs")),
    Fault("strangers' configs", "a sampler of their own", "hydra.sweeper.sampler._target_=os.mkdir", in_own("hydra/sweeper/theirs.yaml", '_target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper\nsampler: {_target_: os.mkdir, path: SPRUNG}\n', "-m", "hydra/sweeper=theirs")),
    Fault("strangers' configs", "a search space by a function", f"custom_search_space=os.system: {CODE}", in_own("hydra/sweeper/theirs.yaml", '_target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper\ncustom_search_space: os.system\n', "-m", "hydra/sweeper=theirs")),
    taken("a logging factory", 'job_logging:\n  filters:\n    x: {"()": os.mkdir, path: SPRUNG}', f"hydra.job_logging.filters.x.()=os.mkdir, hydra.job_logging.filters.x.path=SPRUNG: {CODE}"),
    taken("a logging factory of Hydra's", 'hydra_logging:\n  filters:\n    x: {"()": os.mkdir, path: SPRUNG}', f"hydra.hydra_logging.filters.x.()=os.mkdir, hydra.hydra_logging.filters.x.path=SPRUNG: {CODE}"),
    taken("a handler that sends logs away", "job_logging:\n  handlers:\n    x: {class: logging.handlers.SocketHandler, host: evil, port: 9}", "handlers.x.class=logging.handlers.SocketHandler, "),
    taken("a stream out of a module", "job_logging:\n  handlers:\n    console: {stream: ext://os.environ}", f"stream=ext://os.environ: {CODE}"),
    taken("a module out of a format", "job_logging:\n  formatters:\n    plain: {format: 'ext://evil.%(message)s'}", f"format=ext://evil.%(message)s: {CODE}"),
    taken("a module out of a date", "job_logging:\n  formatters:\n    plain: {format: '%(message)s', datefmt: 'ext://evil.x'}", f"datefmt=ext://evil.x: {CODE}"),
    taken("environment variables", "job:\n  env_set: {LD_PRELOAD: /tmp/evil.so}", f"hydra.job.env_set.LD_PRELOAD=/tmp/evil.so: {CODE}"),
    taken("commands before a job", "launcher:\n  setup: [touch SPRUNG]", f"hydra.launcher.setup=['touch SPRUNG']: {CODE}", "-m", "hydra/launcher=submitit_slurm"),
    taken("code for a cluster", "launcher:\n  ray:\n    init:\n      runtime_env: {working_dir: 'http://evil'}", f"hydra.launcher.ray.init.runtime_env.working_dir=http://evil: {CODE}", "-m", "hydra/launcher=ray"),
    taken("a sweep over Hydra's own keys", "mode: MULTIRUN\nsweeper:\n  params:\n    +hydra.callbacks.x._target_: os.system", f"hydra.sweeper.params.+hydra.callbacks.x._target_=os.system: {CODE}"),
    Fault("strangers' configs", "a launcher that takes the usual one's place", "hydra.launcher._target_=os.mkdir", in_own("hydra/launcher/basic.yaml", "_target_: os.mkdir\n", "-m")),
    Fault("strangers' configs", "a sweep that chooses it", f"hydra.callbacks.x._target_=os.mkdir, hydra.callbacks.x.path=SPRUNG: {CODE}", in_own("experiment/theirs.yaml", "# @package _global_\nhydra:\n  callbacks:\n    x: {_target_: os.mkdir, path: SPRUNG}\n", "-m", "experiment=theirs,tutorial")),
    Fault("strangers' configs", "logging chosen as an option", f"hydra.job_logging.filters.x.()=os.mkdir, hydra.job_logging.filters.x.path=SPRUNG: {CODE}", in_own("hydra/job_logging/theirs.yaml", 'version: 1\nroot: null\nfilters:\n  x: {"()": os.mkdir, path: SPRUNG}\n', "hydra/job_logging=theirs")),
    Fault("strangers' configs", "a target in a group", "reranker._target_=os.mkdir: there is no such key", in_own("reranker/theirs.yaml", "family: none\n_target_: os.mkdir\n", "reranker=theirs")),
    Fault("strangers' configs", "a name that clears the screen", r"dataset.name='\x1b[2J': holds control characters", in_own("experiment/theirs.yaml", '# @package _global_\ndataset:\n  name: "\\e[2J"\n', "experiment=theirs")),
    Fault("strangers' configs", "a config.yaml", "its config.yaml would take the package's place", in_own("config.yaml", "a: 1\n")),
    Fault("strangers' configs", "a hydra/config.yaml", "its hydra/config.yaml would take the package's place", in_own("hydra/config.yaml", "a: 1\n")),
    Fault("strangers' configs", "a Python object in YAML", "python/object/apply:os.mkdir", in_own("reranker/theirs.yaml", "family: none\nmodel: !!python/object/apply:os.mkdir [SPRUNG]\n", "reranker=theirs")),
    Fault("strangers' configs", "broken YAML", "theirs.yaml", in_own("reranker/theirs.yaml", "model: [x\n", "reranker=theirs")),
    Fault("strangers' configs", "a tab in YAML", "theirs.yaml", in_own("reranker/theirs.yaml", "family: none\n\tmodel: x\n", "reranker=theirs")),
    Fault("strangers' configs", "a key twice", "theirs.yaml", in_own("reranker/theirs.yaml", "family: none\nfamily: llm\n", "reranker=theirs")),
    Fault("strangers' configs", "a list for a config", "theirs.yaml: holds no keys", in_own("reranker/theirs.yaml", "- family\n", "reranker=theirs")),
    Fault("strangers' configs", "Latin-1 in YAML", "theirs.yaml", in_own("reranker/theirs.yaml", b"family: none # caf\xe9\n", "reranker=theirs")),
    Fault("strangers' configs", "a NUL byte in YAML", "theirs.yaml", in_own("reranker/theirs.yaml", b"family: none\0\n", "reranker=theirs")),
    Fault("strangers' configs", "an unknown family", "reranker.family=bm25: choose one of bi-encoder, causal, ", in_own("reranker/theirs.yaml", "family: bm25\n", "reranker=theirs")),
    Fault("strangers' configs", "an option that is not there", "reranker=nobody: there is no such option", in_own("reranker/theirs.yaml", "family: none\n", "reranker=nobody")),
    Fault("strangers' configs", "a file for the folder", "corpus.jsonl: is no folder; give one", also("--config-dir", "{data}/corpus.jsonl")),
]  # fmt: skip

# --- the command line beyond test_config.py's table ---


def command(name: str, said: str, *given: str, cured: str) -> Fault:
    """`cured`: the words that take the place of the given ones."""
    return Fault("command line", name, said, also(*given), also(*cured.split()), f"... {cured}".strip())


COMMANDS = [
    command("a file for the output folder", "hydra.run.dir={here}/data/corpus.jsonl: cannot be written", "hydra.run.dir={data}/corpus.jsonl", cured="hydra.run.dir={here}/out2"),
    command("an output folder below a file", "corpus.jsonl is not a folder that you may write to", "hydra.run.dir={data}/corpus.jsonl/x", cured="hydra.run.dir={here}/out2"),
    command("no output folder", "hydra.run.dir=: give a folder", "hydra.run.dir=''", cured="hydra.run.dir=out2"),
    command("an output folder left open", "hydra.run.dir=: give a folder for the results", "hydra.run.dir=???", cured="hydra.run.dir=out2"),
    command("a file for the sweep's folder", "hydra.sweep.dir={here}/data/corpus.jsonl: cannot be written", "-m", "hydra.sweep.dir={data}/corpus.jsonl", cured="-m hydra.sweep.dir={here}/sweep2"),
    command("a home folder that no shell expands", "hydra.run.dir=~/out: ~ would be a folder of that name", "hydra.run.dir=~/out", cured="hydra.run.dir={here}/out"),
    command("a variable that is not there", "there is no NO_SUCH_VARIABLE in the environment; leave it out", "hydra.job.env_copy=[NO_SUCH_VARIABLE]", cured=""),
    command("a sweep over nothing", "reranker=glob(zz*): lists no values to sweep over", "-m", "reranker=glob(zz*)", cured="-m reranker=none"),
    command("a server without a host", "tracking.uri=http://: give http://host:port", "tracking=mlflow", "tracking.uri=http://", cured="tracking=mlflow tracking.uri=http://host:5000"),
    command("a port that there is not", "tracking.uri=http://host:99999: give http://host:port", "tracking=mlflow", "tracking.uri=http://host:99999", cured="tracking=mlflow tracking.uri=http://host:5000"),
    command("jobs that leave the sweep's folder", "hydra.sweep.subdir=../x: leads out of hydra.sweep.dir", "-m", "hydra.sweep.subdir=../x", cured="-m hydra.sweep.subdir=x"),
    command("jobs in an absolute folder", "hydra.sweep.subdir=/x: leads out of hydra.sweep.dir", "-m", "hydra.sweep.subdir=/x", cured="-m hydra.sweep.subdir=x"),
    command("a file for the cache", "is a file, not a folder; choose another place", "cache_dir={data}/corpus.jsonl", cured="cache_dir={here}/cache2"),
    command("a cache below a file", "is a file, not a folder; choose another place", "cache_dir={data}/corpus.jsonl/x", cured="cache_dir={here}/cache2"),
    command("no cache", "cache_dir=: it is empty; give a folder", "cache_dir=''", cured=""),
    command("20 digits of candidates", "candidates=99999999999999999999: give at most 1,000,000", "candidates=99999999999999999999", cured="candidates=1000000"),
    command("more threads than any machine has", "threads=100000: give at most 1,024", "threads=100000", cured="threads=2"),
    command("a batch of 20 digits", "batch_size=99999999999999999999: give at most", "batch_size=99999999999999999999", cured="batch_size=1000000"),
    command("tokens of 20 digits", "batch_tokens=99999999999999999999: give at most", "batch_tokens=99999999999999999999", cured="batch_tokens=1000000000"),
    command("a negative seed", "seed=-1: give at least 0", "seed=-1", cured="seed=0"),
    command("a seed of 20 digits", "seed=99999999999999999999: give at most", "seed=99999999999999999999", cured="seed=4294967295"),
    command("a sequence of 20 digits", "reranker.max_length=99999999999999999999: the model reads at most", "reranker=base", "reranker.model={models}/base", "reranker.max_length=99999999999999999999", cured="reranker=base reranker.model={models}/base reranker.max_length=64"),
    command("a negative window", "reranker.query_max_length=-1: choose between", "reranker=base", "reranker.model={models}/base", "reranker.query_max_length=-1", cured="reranker=base reranker.model={models}/base reranker.query_max_length=1"),
    command("NaN for a number", "report.delta=nan: give 0 or more", "report.delta=nan", cured="report.delta=0.01"),
    command("an infinite level", "report.level=inf: give a confidence", "report.level=inf", cured="report.level=0.95"),
    command("a price of nothing", "report.price_per_hour=0", "report.price_per_hour=0", cured="report.price_per_hour=0.5"),
    command("a negative budget", "report.budget.memory_mb=-5", "report.budget.memory_mb=-5", cured="report.budget.memory_mb=null"),
    command("a budget without a price", "report.budget.price_per_1k needs report.price_per_hour", "report.budget.price_per_1k=1", cured="report.budget.price_per_1k=1 report.price_per_hour=2"),
    command("a measure that is none", "report.measure=accuracy", "report.measure=accuracy", cured="report.measure=recall_at_2"),
    command("a negative number of documents", "dataset.sample_docs=-1: must be at least 1", "dataset.sample_docs=-1", cured="dataset.sample_docs=1"),
    command("a negative threshold", "dataset.relevance_threshold=-1: must be at least 1", "dataset.relevance_threshold=-1", cured="dataset.relevance_threshold=1"),
    command("a threshold above every grade", "no judgement is positive: the highest grade is 2", "dataset.relevance_threshold=3", cured="dataset.relevance_threshold=2"),
    command("null for a text", "dataset.title_separator=null: null is not possible here", "dataset.title_separator=null", cured="dataset.title_separator='null'"),
    command("BM25 with a negative k1", "first_stage.k1=-1", "first_stage.k1=-1", cured="first_stage.k1=0"),
    command("BM25 with NaN for k1", "first_stage.k1=nan, first_stage.b=0.4: k1 is between 0", "first_stage.k1=nan", cured="first_stage.k1=0.9"),
    command("BM25 with an infinite k1", "first_stage.k1=inf", "first_stage.k1=inf", cured="first_stage.k1=1000000"),
    command("BM25 with NaN", "first_stage.b=nan", "first_stage.b=nan", cured="first_stage.b=1"),
    command("hybrid of a negative pool", "first_stage.pool=-1", "first_stage=hybrid", "first_stage.pool=-1", cured="first_stage=hybrid first_stage.pool=1"),
    command("an index that cannot be searched so", "index.search=nprobe=4: FAISS cannot set this on HNSW32", "first_stage=dense", "index=hnsw", "index.search='nprobe=4'", cured="first_stage=dense index=hnsw index.search=efSearch=256"),
    command("a word for a number of FAISS's", "index.search=efSearch=many: FAISS cannot set this on HNSW32", "first_stage=dense", "index=hnsw", "index.search='efSearch=many'", cured="first_stage=dense index=hnsw index.search=efSearch=256"),
    command("an index of a billion links", "index.factory=HNSW999999999: give at most 10,000,000", "first_stage=dense", "index.factory=HNSW999999999", cured="first_stage=dense index.factory=HNSW32"),
    command("training on nothing", "index.train_rows=0: give at least", "first_stage=dense", "index.train_rows=0", cured="first_stage=dense index.train_rows=1"),
    command("no launcher", "hydra.launcher=null: it must be a group of keys", "hydra.launcher=null", cured="hydra/launcher=basic"),
    command("a swept launcher", "cannot be swept", "-m", "+hydra.launcher.x=1,2", cured="-m"),
    command("a job from a pickle", "reads a pickle, which can run code", "--experimental-rerun", "job.pickle", cured=""),
    command("--cfg with a wrong value", "depth=abc: give a whole number", "--cfg", "job", "depth=abc", cured="--cfg job depth=2"),
    command("--cfg with an unknown key", "dpeth=5: there is no such key; did you mean depth?", "--cfg", "job", "dpeth=5", cured="--cfg job depth=5"),
    command("--cfg with an unknown option", "reranker=nine: there is no such option", "--cfg", "job", "reranker=nine", cured="--cfg job reranker=none"),
    command("--cfg with a sweep", "several values need -m", "--cfg", "job", "depth=1,2", cured="-m depth=1,2"),
    command("--info with a wrong value", "depth=abc: give a whole number", "--info", "config", "depth=abc", cured="--info config depth=2"),
    command("--cfg and -m", "--cfg: shows a config and runs nothing", "--cfg", "job", "-m", cured="--cfg job"),
    command("--resolve alone", "--resolve: goes together with --cfg", "--resolve", cured="--cfg job --resolve"),
    command("an unknown config", "--config-name nope: there is no such config; leave it out", "--config-name", "nope", cured=""),
    command("a config folder that is not there", "'/not/there'", "--config-path", "/not/there", cured=""),
    command("a dataset of the hub by a strange name", "dataset.path=a b: there is no such folder", "dataset=hub", "dataset.path='a b'", cured="dataset=hub dataset.path=a/b"),
    command("a password in a wrong address", "tracking.uri=ftp://***@host: give sqlite", "tracking=mlflow", "tracking.uri=ftp://joe:s3cret@host", cured="tracking=mlflow tracking.uri=http://joe:s3cret@host"),
]  # fmt: skip

RESULT: dict[str, Any] = {"schema": 1, "arm": "a", "status": "ok", "measures": {}}


def other(
    program: str,
    name: str,
    said: str,
    *given: str,
    files: dict[str, bytes | str] | None = None,
    cured: str = "",
) -> Fault:
    """A fault of one of the other commands, made of words and of files in its folder."""
    cure = with_files(files or {}, program, *cured.split()) if cured else None
    shown = f"{program} {cured}" if cured else ""
    return Fault(program, name, said, with_files(files or {}, program, *given), cure, shown)


def bad_result(name: str, text: str, said: str) -> Fault:
    return other(
        "rerankbench-report", name, said, "{here}/run", files={"run/result.json": text}, cured="{done}"
    )


OTHERS = [
    other("rerankbench-check", "no such folder", "dataset.path=/nope: there is no such folder", "dataset=beir", "dataset.path=/nope", cured="dataset=beir dataset.path={data} reranker=none"),
    other("rerankbench-check", "a run that is not there", "first_stage.path=/nope: there is no such file", "first_stage=run", "first_stage.path=/nope", cured="dataset=beir dataset.path={data} reranker=none"),
    other("rerankbench-check", "a sweep", "-m: rerankbench-check looks at one collection", "-m", "reranker=base,large", cured="dataset=beir dataset.path={data} reranker=none"),
    other("rerankbench-check", "an unknown argument", "--jsn: there is no such argument", "--jsn", cured="dataset=beir dataset.path={data} reranker=none --json"),
    other("rerankbench-check", "an unknown option", "dataset=beer: there is no such option; did you mean beir?", "dataset=beer", cured="dataset=beir dataset.path={data} reranker=none"),
    other("rerankbench-check", "a wrong value", "reranker.max_length=4: give at least 8 tokens", "reranker.max_length=4", cured="dataset=beir dataset.path={data} reranker=none"),
    other("rerankbench-check", "an experiment that names code", f"hydra.callbacks.x._target_=os.mkdir, hydra.callbacks.x.path=SPRUNG: {CODE}", "--config-dir", "{here}/own", "experiment=theirs", files={"own/experiment/theirs.yaml": "# @package _global_\nhydra:\n  callbacks:\n    x: {_target_: os.mkdir, path: SPRUNG}\n"}, cured="dataset=beir dataset.path={data} reranker=none"),
    other("rerankbench-report", "nothing given", "arguments are required", cured="{done}"),
    other("rerankbench-report", "a folder without runs", "holds no result.json", "{here}/own", files={"own/x": ""}, cured="{done}"),
    other("rerankbench-report", "an empty folder name", "it is empty; give a folder", "", cured="{done}"),
    other("rerankbench-report", "an empty name for the report's folder", "argument --out: it is empty; give a folder", "{done}", "--out", "", cured="{done} --out {here}/report"),
    other("rerankbench-track", "a file for the folder", "result.json: is a file, not a folder; give the output folder", "{done}/result.json", cured="{done}"),
    other("rerankbench-report", "an unknown setting", "settings here start with report. or tracking.", "{here}", "depth=5", cured="{done}"),
    other("rerankbench-report", "an unknown key", "did you mean report.measure?", "{here}", "report.mesure=ndcg_at_10", cured="{done} report.measure=ndcg_at_10"),
    other("rerankbench-report", "a wrong value", "report.delta=abc: give a number", "{here}", "report.delta=abc", cured="{done} report.delta=0.02"),
    other("rerankbench-report", "an unknown argument", "--all", "{here}", "--all", cured="{done}"),
    bad_result("a broken result", "{", "result.json: cannot be read"),
    bad_result("a result of another version", '{"schema": 99}', "result.json: not a result of schema 1"),
    bad_result("a list for a result", "[]", "result.json: not a result of schema 1"),
    bad_result("a result without its table", json.dumps(RESULT), "per_query.parquet is missing beside result.json"),
    bad_result("an empty result", "", "result.json: cannot be read"),
    other("rerankbench-report", "a table that is no parquet", "per_query.parquet", "{here}/run", files={"run/result.json": json.dumps(RESULT), "run/per_query.parquet": "x"}, cured="{done}"),
    other("rerankbench-cache", "nothing to do", "required: COMMAND", cured="list cache_dir={here}"),
    other("rerankbench-cache", "an unknown command", "invalid choice: 'prine'", "prine", "cache_dir={here}", cured="prune scores --yes cache_dir={here}"),
    other("rerankbench-cache", "a misspelt key", "cachedir=x: there is no such key; did you mean cache_dir?", "size", "cachedir=x", cured="size cache_dir={here}"),
    other("rerankbench-cache", "an unknown kind", "sores: choose from models", "prune", "sores", "cache_dir={here}", cured="prune scores cache_dir={here}"),
    other("rerankbench-cache", "no kind", "say what to prune", "prune", "cache_dir={here}", cured="prune scores cache_dir={here}"),
    other("rerankbench-cache", "no age", "--older-than soon: give hours, days or weeks", "prune", "scores", "--older-than", "soon", "cache_dir={here}", cured="prune scores --older-than 30d cache_dir={here}"),
    other("rerankbench-cache", "a folder that is not there", "cache_dir=/nope: there is no such folder", "list", "cache_dir=/nope", cured="list cache_dir={here}"),
    other("rerankbench-cache", "an empty folder name", "cache_dir=: it is empty; give a folder, or leave it out", "prune", "scores", "--yes", "cache_dir=", cured="prune scores --yes cache_dir={here}"),
    other("rerankbench-cache", "a file for the folder", "is a file; nothing has been stored there yet", "verify", "cache_dir={here}/x", files={"x": ""}, cured="verify cache_dir={here}"),
    other("rerankbench-track", "a folder that is not there", "/not/there: there is no such folder", "/not/there", cured="{done}"),
    other("rerankbench-track", "no folder", "give the output folder of a run", "tracking.uri=x", cured="{done}"),
    other("rerankbench-track", "a folder without runs", "holds no result.json", "{here}/own", files={"own/x": ""}, cured="{done}"),
    other("rerankbench-track", "a broken result", "result.json: cannot be read", "{here}/run", files={"run/result.json": "{"}, cured="{done}"),
    other("rerankbench-track", "a result of another version", "not a result of schema 1", "{here}/run", files={"run/result.json": '{"schema": 0}'}, cured="{done}"),
    other("rerankbench-track", "a result without an arm", "result.json: ", "{here}/run", files={"run/result.json": '{"schema": 1}'}, cured="{done}"),
    other("rerankbench-track", "measures that are a list", "result.json: ", "{here}/run", files={"run/result.json": json.dumps(RESULT | {"measures": [1]})}, cured="{done}"),
    other("rerankbench-track", "an unknown key", "did you mean tracking.uri?", "{here}/run", "tracking.url=x", files={"run/result.json": json.dumps(RESULT)}, cured="{here}/run tracking.uri=sqlite:///mlflow.db"),
    other("rerankbench-track", "a wrong address", "tracking.uri=x: give sqlite", "{here}/run", "tracking.uri=x", files={"run/result.json": json.dumps(RESULT)}, cured="{here}/run tracking.uri=http://host:5000"),
    other("rerankbench-track", "an unknown argument", "--all: there is no such argument", "{here}/run", "--all", files={"run/result.json": json.dumps(RESULT)}, cured="{here}/run"),
    other("rerankbench-track", "a saved config that is broken", "config.yaml", "{here}/run", files={"run/result.json": json.dumps(RESULT), "run/.hydra/config.yaml": "a: [\n"}, cured="{here}/run tracking.uri=sqlite:///mlflow.db tracking.experiment=mine"),
    other("rerankbench-ui", "a store that is not there", "no store at {here}/mlflow.db", "tracking.uri=sqlite:///{here}/mlflow.db", cured="tracking.uri=http://host:5000"),
    other("rerankbench-ui", "a word that is no setting", "mlflow.db: give tracking.uri=ADDRESS", "mlflow.db", "tracking.uri=http://host", cured="tracking.uri=http://host"),
    other("rerankbench-ui", "a port that is none", "--port", "--port", "many", cured="tracking.uri=http://host --port 5001"),
]  # fmt: skip


def deployed(name: str, said: str, old: str, new: str, cured: str = "{sweep} --port 0") -> Fault:
    """A fault in a line of deploy.yaml."""

    def spoil(place: Place) -> None:
        file = place.sweep / "deploy.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    made = prepared(spoil, "rerankbench-serve", "{sweep}", "--port", "0")
    program, *more = ["rerankbench-serve", *cured.split()] if cured.startswith("{sweep}") else cured.split()
    return Fault("rerankbench-serve", name, said, made, words(program, *more), f"{program} {' '.join(more)}")


def served_model(name: str, said: str, damage: Callable[[Path], Any]) -> Fault:
    """The reranker that is to be served is damaged; its cure is in cures.py."""

    def spoil(place: Place) -> None:
        assert place.sweep
        damage(place.folder / "model")

    return Fault(
        "rerankbench-serve", name, said, prepared(spoil, "rerankbench-serve", "{sweep}", "--port", "0")
    )


def taken_port(program: str, said: str, cured: str) -> Fault:
    """Another program listens where the page or the service would."""

    def make(place: Place) -> list[str]:
        LISTENING.append(socket.create_server(("127.0.0.1", 0)))
        port = LISTENING[-1].getsockname()[1]
        return [program, str(place.sweep), "--port", str(port)]

    cure = words(program, *cured.split())
    return Fault(program, "a port that is taken", said, make, cure, f"{program} {cured}")


LISTENING: list[socket.socket] = []  # kept, so that they stay open


def serve(
    name: str,
    said: str,
    *given: str,
    cured: str = "{sweep} --port 0",
    files: dict[str, bytes | str] | None = None,
) -> Fault:
    return other("rerankbench-serve", name, said, *given, files=files, cured=cured)


def judge(
    name: str,
    said: str,
    *given: str,
    cured: str = "{sweep} --status",
    files: dict[str, bytes | str] | None = None,
) -> Fault:
    return other("rerankbench-judge", name, said, *given, files=files, cured=cured)


SERVE = [
    serve("nothing given", "arguments are required: SWEEP|RUN|deploy.yaml"),
    serve("a place that is not there", "/not/there: there is no such file or folder; give a sweep", "/not/there"),
    serve("a folder without runs", "holds no result.json", "{here}/own", files={"own/x": ""}),
    serve("a file that is no YAML", "deploy.yaml: is not YAML", "{here}/deploy.yaml", files={"deploy.yaml": "{"}),
    serve("an empty file", "deploy.yaml: is not a deploy.yaml; write one with rerankbench-report", "{here}/deploy.yaml", files={"deploy.yaml": ""}),
    deployed("a file of another version", "its schema is 2, not 1; write it again with rerankbench-report", "schema: 1", "schema: 2", cured="rerankbench-report {sweep}"),
    deployed("a key that there is not", "run_this: Unexpected keyword argument", "schema: 1", "schema: 1\nrun_this: rm -rf", cured="rerankbench-report {sweep}"),
    deployed("a word for a depth", "steps.0.depth: Input should be a valid integer", "depth: ", "depth: x", cured="rerankbench-report {sweep}"),
    deployed("aliases in the file", "it has aliases (*name), which no deploy.yaml has; write it again", "schema: 1", "schema: &a 1\narm: *a", cured="rerankbench-report {sweep}"),
    deployed("code that comes with a model", "base: trust_remote_code=true runs code that comes with the model; add --trust", "trust_remote_code: false", "trust_remote_code: true"),
    serve("an arm that there is not", "--arm base@4: the report has no such arm; did you mean 'base@2'", "{sweep}", "--arm", "base@4", cured="{sweep} --arm base@2 --port 0"),
    served_model("a model that is gone", "no such folder", shutil.rmtree),
    served_model("a model with other weights", "or its weights have changed: use what was measured", tensors(doubled)),
    taken_port("rerankbench-serve", "cannot be served there (Address already in use); choose another --port", "{sweep} --port 0"),
    serve("a port that there is not", "--port 65536: choose 1 to 65535, or 0 for a free one", "{sweep}", "--port", "65536"),
    serve("a word for a port", "argument --port: invalid int value: 'http'", "{sweep}", "--port", "http"),
    serve("an address without a key", "--host 0.0.0.0: others could reach it there; set a key", "{sweep}", "--host", "0.0.0.0"),
    serve("no documents at all", "--max-documents 0: give more than 0", "{sweep}", "--max-documents", "0", cured="{sweep} --max-documents 100 --port 0"),
    serve("an infinite time", "--seconds inf: give more than 0", "{sweep}", "--seconds", "inf", cured="{sweep} --seconds 60 --port 0"),
    serve("a misspelt argument", "unrecognized arguments: --chekc; rerankbench-serve --help shows what there is", "{sweep}", "--chekc"),
    serve("an address without --check", "--url: is about a service that is compared; add --check", "{sweep}", "--url", "http://127.0.0.1:1"),
    serve("nobody at the address", "http://127.0.0.1:1/v1/rerank: no answer", "{sweep}", "--check", "--url", "http://127.0.0.1:1"),
    serve("an address of a file", "--url ftp://x: give an address such as http", "{sweep}", "--check", "--url", "ftp://x"),
    serve("a password in the address", "put what it needs into an environment variable, and name that by --key-variable NAME", "{sweep}", "--check", "--url", "http://joe:s3cret@127.0.0.1:1"),
    serve("a key that is not set", "--key-variable NOT_SET: this variable is not set; export it", "{sweep}", "--check", "--key-variable", "NOT_SET"),
    serve("no client at all", "--clients 0: choose 1 to 256", "{sweep}", "--check", "--clients", "0"),
    serve("two arms to compare", "--check: compares one arm at a time; leave out --arm no reranking", "{sweep}", "--check", "--arm", "base@2", "--arm", "no reranking"),
    serve("an arm that does not rerank", "no reranking: does not rerank, so there is nothing to compare", "{sweep}", "--check", "--arm", "no reranking"),
]  # fmt: skip

JUDGE = [
    judge("nothing given", "no folder given: rerankbench-judge FOLDER"),
    judge("a folder that is not there", "/not/there: there is no such folder", "/not/there"),
    judge("a folder without runs", "holds no result.json", "{here}/own", files={"own/x": ""}),
    taken_port("rerankbench-judge", "address already in use; leave --port out", "{sweep} --status"),
    judge("a port that there is not", "--port 65536: choose 0 to 65535", "{sweep}", "--port", "65536"),
    judge("a word for a cutoff", "argument --cutoff: 'ten' is not a whole number of at least 1", "{sweep}", "--cutoff", "ten", cured="{sweep} --cutoff 10 --status"),
    judge("nobody who judges", "--judge '': give a name, such as --judge anna", "{sweep}", "--judge", "", cured="{sweep} --judge anna --status"),
    judge("a misspelt argument", "unrecognized arguments: --exprot", "{sweep}", "--exprot"),
    judge("a misspelt setting", "judge.timout=9: there is no such key; did you mean judge.timeout?", "{sweep}", "judge.url=http://127.0.0.1:1/v1", "judge.model=x", "judge.timout=9"),
    judge("a model without its server", "judge.url", "{sweep}", "judge.model=x"),
    judge("a server that is no address", "judge.url", "{sweep}", "judge.url=localhost", "judge.model=x"),
    judge("a spreadsheet where none can be", "--export {here}/no/pairs.csv: cannot be written", "{sweep}", "--pool", "2", "--export", "{here}/no/pairs.csv", cured="{sweep} --pool 2 --export {here}/pairs.csv"),
    judge("a spreadsheet that is not there", "--import {here}/pairs.csv: cannot be read (No such file or directory)", "{sweep}", "--import", "{here}/pairs.csv"),
    judge("a spreadsheet without grades", "needs the columns pair and grade, as --export writes them", "{sweep}", "--import", "{here}/pairs.csv", files={"pairs.csv": "query,label\nq1,1\n"}),
    judge("a pair of other runs", "pairs.csv, row 2: its pair is in none of these runs", "{sweep}", "--import", "{here}/pairs.csv", files={"pairs.csv": "query_id,doc_id,grade\nq9,d9,1\n"}),
    judge("a grade that there is not", "row 2: the grade is 9; give 0 to 3, ? or nothing", "{sweep}", "--import", "{here}/pairs.csv", files={"pairs.csv": "query_id,doc_id,grade\nq1,007,9\n"}),
    judge("a folder of something else", "judgements.jsonl: this is not a record of judgements; choose another --folder", "{sweep}", "--folder", "{here}/own", files={"own/judgements.jsonl": "mine\n"}, cured="{sweep} --folder {here}/other --status"),
    judge("queries from nobody", "--make-queries: give judge.url=ADDRESS judge.model=NAME", "--make-queries", "5", "dataset.corpus={data}/corpus.jsonl"),
]  # fmt: skip

FAULTS = [
    *contents("corpus", "corpus.jsonl", CORPUS_FAULTS),
    *contents("queries", "queries.jsonl", QUERIES_FAULTS),
    *contents("judgements", "qrels/test.tsv", QRELS_FAULTS),
    *FILES,
    *RUNS,
    *MODELS,
    *STRANGERS,
    *COMMANDS,
    *OTHERS,
    *SERVE,
    *JUDGE,
]
