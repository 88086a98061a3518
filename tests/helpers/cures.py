# ruff: noqa: E501 -- a table: one line for each fault
"""What each message about a file or a model tells one to do, done: where the fault was made, after reading it.

Settings and places are read off the message itself, so a message that names the wrong line, or offers a
setting that does not help, fails its test.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bad_input import TOKENIZER, Place
from collection_faults import HEADER, JUDGED, SEVEN

Act = Callable[[Place, list[str], str], list[str]]  # the place, the command and the message -> the command
FILE = re.compile(
    r"(/[^\s:=']+\.(?:jsonl|tsv|csv|txt|parquet|json|trec|yaml)(?:\.gz)?)(?:(?::| row | entry )(\d+))?"
)
# A setting that can be typed as it stands; VALUE, PRICE and their like only stand for one.
SETTING = re.compile(
    r"(?<![\w./$])(?:\+?[a-z]\w*(?:[./][a-z]\w*)*)=(?:'[^']*'|\[[^\]]*\]|(?![A-Z]+\b)[^\s,;:'\")]+)"
)


@dataclass(frozen=True)
class Cure:
    """What is done about a fault, and how the page says it."""

    act: Act
    shown: str


def offered(line: str) -> list[str]:
    """The settings that a message tells one to type: those behind the words on what is wrong."""
    told = re.split(r"; |: (?=name its|set |give |add )", line, maxsplit=1)
    return SETTING.findall(told[1].partition("; if ")[0]) if len(told) > 1 else []


def place_of(said: str) -> tuple[Path, int]:
    """The file that a message is about, and the line, 1 where it names none."""
    found = FILE.search(said)
    assert found, f"no file is named in: {said}"
    return Path(found[1]), int(found[2] or 1)


def changed(command: list[str], *words: str) -> list[str]:
    """A command with some settings in the place of others of the same keys."""
    keys = {word.partition("=")[0].lstrip("+") for word in words}
    return [word for word in command if word.partition("=")[0].lstrip("+") not in keys] + list(words)


def code(text: str) -> str:
    shown = text if len(text) <= 90 else text[:87] + "..."
    return f"`{shown}`".replace("|", r"\|")


# --- kinds of cures ---


def line(text: str | bytes) -> Cure:
    """The line that the message names is written right."""
    data = text.encode() if isinstance(text, str) else text

    def act(place: Place, command: list[str], said: str) -> list[str]:
        file, number = place_of(said)
        lines = file.read_bytes().split(b"\n")
        lines[number - 1] = data
        file.write_bytes(b"\n".join(lines))
        return command

    return Cure(act, f"that line as {code(data.decode())}")


NO_LINE = Cure(lambda place, command, said: line("").act(place, command, said), "that line taken out")


def whole(content: str | bytes) -> Cure:
    """The file that the message names is written anew."""
    data = content.encode() if isinstance(content, str) else content

    def act(place: Place, command: list[str], said: str) -> list[str]:
        file, _ = place_of(said)
        if file.is_symlink() or not file.is_file():
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
        return command

    return Cure(
        act, f"a file such as {code(data.decode().strip().replace(chr(9), ' ').replace(chr(10), ' ⏎ '))}"
    )


def recoded(encoding: str) -> Cure:
    """The file is saved as UTF-8."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        file, _ = place_of(said)
        file.write_bytes(file.read_bytes().decode(encoding).encode())
        return command

    return Cure(act, "the file saved as UTF-8")


def typed(*words: str) -> Cure:
    """Other words; `{models}` and `{data}` as in the table of faults."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        places = {"{models}": place.models, "{data}": place.data, "{here}": place.folder}
        given = list(words)
        for name, path in places.items():
            given = [word.replace(name, str(path)) for word in given]
        return changed(command, *given)

    told = " ".join(words)
    for name, shown in {"{here}": "<folder>", "{data}": "<folder>/data", "{models}": "<models>"}.items():
        told = told.replace(name, shown)
    return Cure(act, code(f"... {told}"))


def as_offered(*further: str) -> Cure:
    """The settings that the message offers, as it writes them; `further`: what more they need."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        found = offered(said)
        assert found, f"no setting is offered in: {said}"
        more = [word.replace("{models}", str(place.models)) for word in further]
        return changed(command, *found, *more)

    return Cure(act, "the settings that it offers")


def without(*parts: str) -> Cure:
    """Words of the command are left out."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        return [word for word in command if not any(part in word for part in parts)]

    return Cure(act, f"{' '.join(map(code, parts))} left out")


def restored(model: str, *names: str) -> Cure:
    """Files of a model are fetched again; none named: the whole folder."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        folder = place.folder / "model"
        if not names:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(place.models / model, folder)
        for file in (f for name in names for f in (place.models / model).glob(name)):
            target = folder / file.name
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            shutil.copy(file, target)
        return command

    return Cure(act, f"{', '.join(map(code, names))} fetched again" if names else "the model fetched again")


def own(name: str, content: str) -> Cure:
    """A file of one's own config folder is mended; without content it is taken away."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        file = place.folder / "own" / name
        file.write_text(content) if content else file.unlink()
        return command

    return Cure(act, f"`{name}` without it" if content else f"`{name}` taken away")


# --- cures that are like no others ---


def _parquet(columns: dict[str, list[object]]) -> Cure:
    def act(place: Place, command: list[str], said: str) -> list[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), place_of(said)[0])
        return command

    return Cure(act, "the file written again as parquet")


def _renamed(place: Place, command: list[str], said: str) -> list[str]:
    (place.folder / "run.json").rename(place.folder / "run.jsonl")
    return changed(command, f"first_stage.path={place.folder / 'run.jsonl'}")


def _exported(place: Place, command: list[str], said: str) -> list[str]:
    table = place.write("corpus.csv", "_id,text\n7,a\n")
    return changed(command, f"dataset.corpus={table}")


def _alone(place: Place, command: list[str], said: str) -> list[str]:
    rest = [word for word in command if not word.startswith("dataset")]
    return [*rest, *offered(said)]


def _gz_added(place: Place, command: list[str], said: str) -> list[str]:
    file, _ = place_of(said)
    return changed(command, f"dataset.corpus={file.rename(f'{file}.gz')}")


def as_offered_id() -> Cure:
    """The id that the message names is checked; whether the hub has it is another matter."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        found = re.search(r"give the id alone, ([\w./-]+)(?:, and its revision as revision=(\w+))?", said)
        assert found
        revision = [f"reranker.revision={found[2]}"] if found[2] else []
        return ["rerankbench", "--cfg", "job", *changed(command[1:], f"reranker.model={found[1]}", *revision)]

    return Cure(act, "`... reranker.model=BAAI/bge-reranker-base`")


def called(name: str, *, decompressed: bool = False) -> Cure:
    """The file of the message is called otherwise, and given under that name."""

    def act(place: Place, command: list[str], said: str) -> list[str]:
        file = Path(next(word for word in command if word.startswith("dataset.corpus=")).partition("=")[2])
        data = gzip.decompress(file.read_bytes()) if decompressed else file.read_bytes()
        file.unlink()
        return changed(command, f"dataset.corpus={place.write(name, data)}")

    return Cure(act, code(f"... dataset.corpus=<folder>/{name}"))


def _unpacked(place: Place, command: list[str], said: str) -> list[str]:
    file, _ = place_of(said)
    with tarfile.open(file) as tar:
        tar.extractall(place.folder / "unpacked", filter="data")
    return changed(command, f"dataset.corpus={place.folder / 'unpacked' / 'corpus.jsonl'}")


def _one_object(place: Place, command: list[str], said: str) -> list[str]:
    return changed(command, f"dataset.qrels={place.write('qrels.json', PAIRS)}")


def _a_run(place: Place, command: list[str], said: str) -> list[str]:
    return changed(command, f"first_stage.path={place.write('run.trec', RANKED)}")


EIGHT, SEVENTH = '{"_id": "8", "text": "b"}', '{"_id": "7", "text": "a"}'
ASKED, RANKED = '{"_id": "q1", "text": "a"}', "q1 Q0 c 2 1 t"
JUDGEMENT, PAIRS = "q1\tc\t1", '{"q1": {"7": 1}}'
FAMILY = own("reranker/theirs.yaml", "family: none\n")
PRESET = own("experiment/theirs.yaml", "# @package _global_\ndepth: 2\n")
A_RUN = Cure(_a_run, "`... first_stage.path=<folder>/run.trec`")

# What the next message says where a cure leads to another fault, which is there as well.
NEXT = {
    "corpus: id a float": "none of its document ids",
    "files: all three files wrong": "queries.jsonl: is not valid JSON",
    "run files: JSON, an object a line": "no column for the document",
    "models: three labels": "in its weight files, but",
    "models: a LoRA adapter": "no adapter_model.safetensors there",
}

CURES: dict[str, Cure] = {
    "corpus: broken JSON": line(EIGHT),
    "corpus: not an object": line(EIGHT),
    "corpus: two objects on a line": line(SEVENTH),
    "corpus: deeply nested": line(EIGHT),
    "corpus: a number of 5,000 digits": line(EIGHT),
    "corpus: missing text": line(EIGHT),
    "corpus: missing id": line(EIGHT),
    "corpus: null text": line('{"_id": "7", "text": ""}'),
    "corpus: text a list": line(SEVENTH),
    "corpus: title a number": line('{"_id": "7", "title": "3", "text": ""}'),
    "corpus: id a float": line('{"_id": "7.5", "text": ""}'),
    "corpus: id a bool": line(SEVENTH),
    "corpus: id NaN": line(SEVENTH),
    "corpus: id null": line(SEVENTH),
    "corpus: id empty": line(SEVENTH),
    "corpus: id blank": line(SEVENTH),
    "corpus: id with NUL": line(SEVENTH),
    "corpus: duplicate id": line(EIGHT),
    "corpus: 7 and '7'": line('{"_id": 8, "text": "b"}'),
    "corpus: half a surrogate": line('{"_id": "7", "text": "!"}'),
    "corpus: half a surrogate as id": line(SEVENTH),
    "corpus: NUL byte": line(EIGHT),
    "corpus: Latin-1": recoded("latin-1"),
    "corpus: cut-off UTF-8": line(SEVENTH),
    "corpus: UTF-16": recoded("utf-16"),
    "corpus: an empty file": whole(SEVEN),
    "corpus: only blank lines": whole(SEVEN),
    "queries: no query": whole(ASKED),
    "queries: query without text": line('{"_id": "q2", "text": "b"}'),
    "queries: duplicate query": line('{"_id": "q2", "text": "b"}'),
    "judgements: grade NaN": line(JUDGEMENT),
    "judgements: grade infinite": line(JUDGEMENT),
    "judgements: grade fractional": line(JUDGEMENT),
    "judgements: grade a word": line(JUDGEMENT),
    "judgements: grade empty": line(JUDGEMENT),
    "judgements: grade in other digits": line(JUDGEMENT),
    "judgements: grade with underscore": line(JUDGEMENT),
    "judgements: grade too large": line(JUDGEMENT),
    "judgements: grade too small": line(JUDGEMENT),
    "judgements: contradiction": NO_LINE,
    "judgements: a column too many": line(JUDGEMENT),
    "judgements: five columns": whole(b"query-id\tcorpus-id\n" + JUDGED[:5]),
    "judgements: ranks of a run": whole(HEADER + JUDGED),
    "files: ranks of a run": as_offered(),
    "judgements: half a header": line(HEADER.rstrip()),
    "judgements: an empty query id": line(JUDGEMENT),
    "judgements: no judgement": whole(HEADER + JUDGED),
    "judgements: no positive": whole(HEADER + JUDGED),
    "judgements: other queries": whole(HEADER + JUDGED),
    "judgements: other documents": whole(HEADER + JUDGED),
    "files: a named pipe for the corpus": whole(SEVEN),
    "files: a socket for the queries": whole(ASKED),
    "files: a link to a device": whole(ASKED),
    "files: a link to itself": whole(SEVEN),
    "files: a link that leads nowhere": whole(HEADER + JUDGED),
    "files: a folder for the corpus": whole(SEVEN),
    "files: no judgements": whole(HEADER + JUDGED),
    "files: all three files wrong": whole(SEVEN),
    "files: a split that leaves the folder": typed("dataset.split=test"),
    "files: an absolute split": typed("dataset.split=test"),
    "files: a path of 5,000 letters": typed("dataset.path={data}"),
    "files: a file for the folder": typed("dataset.path={data}"),
    "files: CSV with an open quote": line('7,"open"'),
    "files: CSV with a column too many": line('c,"b,more"'),
    "files: CSV with a column twice": line("_id,text,more"),
    "files: CSV without a text": as_offered(),
    "files: TSV of three columns, no header": as_offered(),
    "files: CSV with Excel's separator line": line(""),
    "files: two CSV files joined": line(""),
    "files: a spreadsheet": Cure(_exported, "`... dataset.corpus=<folder>/corpus.csv`"),
    "files: gzip without .gz": Cure(_gz_added, "`... dataset.corpus=<folder>/corpus.jsonl.gz`"),
    "files: judgements with the document first": as_offered(),
    "files: BEIR judgements with the document first": whole("q1\t7\t1\nq2\tc\t1\n"),
    "files: corpus and queries exchanged": as_offered(),
    "files: one file as corpus and queries": as_offered(),
    **{f"files: {name}": whole('[{"_id": "7", "text": "a"}, {"_id": "c", "text": "b"}]') for name in (
        "a JSON list, cut off", "two JSON lists in a file", "a JSON list of texts", "JSON, two lists under keys",
        "JSON over all lines, cut off",
    )},
    **{f"files: {name}": whole('{"7": "a", "c": "b"}') for name in (
        "JSON by ids, an id twice", "JSON by ids, two ids for one", "JSON by ids, no record",
    )},
    "files: two columns for the text": typed("dataset.text_column=text"),
    "files: a score beside the label": typed("dataset.qrels_grade_column=label"),
    "files: yes among numbers": whole("qid,docno,label\nq1,7,yes\nq1,c,no\n"),
    "files: LangChain's chunks without ids": as_offered(),
    "files: LangChain's documents without any id": whole('[{"id": "7", "page_content": "a", "metadata": {}}, {"id": "c", "page_content": "b", "metadata": {}}]'),
    "files: LangChain's documents, one with an id": as_offered(),
    "files: a whole collection as the corpus": Cure(_alone, "`... dataset=one_file dataset.path=<folder>/corpus.jsonl`"),
    "files: texts without ids": whole("7\tparis is the capital\nc\tberlin too\n"),
    "files: no parquet": _parquet({"_id": ["7"], "text": ["a"]}),
    "files: cut-off gzip": whole(SEVEN),
    "files: not gzip": called("corpus.jsonl"),
    "files: UTF-16 without a mark": recoded("utf-16-le"),
    "files: UTF-32": recoded("utf-32"),
    "files: Windows-1252 quotes in a query": recoded("cp1252"),
    "files: Shift JIS": recoded("shift_jis"),
    "files: JSON judgements, a list on top": whole(PAIRS),
    "files: JSON judgements, cut off": whole(PAIRS),
    "files: JSON judgements, a query twice": whole('{"q1": {"7": 1, "c": 1}}'),
    "files: JSON judgements, grade 1.5": whole(PAIRS),
    "files: JSON judgements, true among numbers": whole('{"q1": {"7": true, "c": false}}'),
    "files: TREC judgements, an id with a space": line("q1 0 my_doc 1"),
    "files: JSON lines called text": called("corpus.jsonl"),
    "files: a comment above judgements": line(""),
    "files: CSV with backslashes before quotes": line('7,"a ""quoted"" word"'),
    "files: texts before their ids": typed("dataset.doc_id_column=2", "dataset.text_column=1"),
    "files: compressed twice": called("corpus.jsonl.gz", decompressed=True),
    "files: gzip by another name": called("corpus.jsonl.gz"),
    "files: an archive for the corpus": Cure(_unpacked, "`... dataset.corpus=<folder>/unpacked/corpus.jsonl`"),
    "files: parquet compressed once more": _parquet({"_id": ["7"], "text": ["a"]}),
    "files: an Arrow file called parquet": _parquet({"_id": ["7"], "text": ["a"]}),
    "files: judgements by query, a query a line": Cure(_one_object, "`... dataset.qrels=<folder>/qrels.json`"),
    "files: BEIR files under other names": Cure(_alone, "the settings that it offers"),
    "files: BEIR judgements beside the texts": Cure(_alone, "the settings that it offers"),
    "files: one file without records": whole('[{"query": "a", "pos": ["b"]}]'),
    "files: a passage where a list belongs": line('{"query": "a", "pos": ["b"]}'),
    "files: a picture for the judgements": whole(JUDGED),
    "run files: a score that is NaN": line(RANKED),
    "run files: an infinite score": line(RANKED),
    "run files: a score beyond double precision": line(RANKED),
    "run files: a score beyond single precision": line(RANKED),
    "run files: a word for a score": line(RANKED),
    "run files: a score with an underscore": line(RANKED),
    "run files: a score in other digits": line(RANKED),
    "run files: a score with a comma": line("q1 Q0 c 2 0.5 t"),
    "run files: a hexadecimal score": line(RANKED),
    "run files: a word for a rank": line(RANKED),
    "run files: a fractional rank": line(RANKED),
    "run files: a rank of 20 digits": line(RANKED),
    "run files: an id with a space": line("q1 Q0 my_doc 1 1 t"),
    "run files: a column too few": line(RANKED),
    "run files: a document twice": NO_LINE,
    "run files: a NUL byte": line(RANKED),
    "run files: Latin-1": recoded("latin-1"),
    "run files: an empty file": whole(RANKED),
    "run files: only blank lines": whole(RANKED),
    "run files: UTF-16": recoded("utf-16"),
    "run files: a run of other queries": whole(RANKED),
    "run files: a run of other documents": whole(RANKED),
    "run files: judgements for a run": as_offered(),
    "run files: JSON, cut off": whole(PAIRS),
    "run files: JSON, a list on top": whole(PAIRS),
    "run files: JSON, NaN": whole(PAIRS),
    "run files: JSON, Infinity": whole(PAIRS),
    "run files: JSON, true": whole(PAIRS),
    "run files: JSON, null": whole(PAIRS),
    "run files: JSON, a document twice": whole(PAIRS),
    "run files: JSON, 5,000 digits": whole(PAIRS),
    "run files: JSON, nested 100,000 deep": whole(PAIRS),
    "run files: JSON, one answer of a search engine": whole('{"q1": {"took": 1, "hits": {"hits": [{"_id": "007", "_score": 1}]}}}'),
    "run files: JSON, hits without scores": whole('{"q1": [{"_id": "007", "score": 1}]}'),
    "run files: JSON, an object a line": Cure(_renamed, "`... first_stage.path=<folder>/run.jsonl`"),
    "run files: CSV without scores": as_offered(),
    "run files: CSV with a header of its own": as_offered(),
    "run files: JSONL, a list for a score": line('{"qid": "q1", "docno": "007", "score": 1}'),
    "run files: no parquet": _parquet({"qid": ["q1"], "docno": ["7"], "score": [1.0]}),
    "run files: cut-off gzip": whole(RANKED),
    "run files: the document first": as_offered(),
    "run files: ranks and scores exchanged": typed("first_stage.order_by=distance"),
    "run files: JSON, three numbers for a document": whole(PAIRS),
    "run files: ranks for scores": without("first_stage.score_column"),
    "run files: a folder": A_RUN,
    "run files: a device": A_RUN,
    "models: an embedder for a reranker": typed("reranker.model={models}/base"),
    "models: a reranker for an embedder": typed("embedder.model={models}/bge-small-en"),
    "models: an encoder for gemma": as_offered(),
    "models: gemma for an encoder": as_offered(),
    "models: gemma for lightweight": as_offered(),
    "models: lightweight for layerwise": as_offered(),
    "models: a layer that has no head": typed("reranker.cutoff_layers=[6]"),
    "models: three labels": as_offered(),
    "models: no tokenizer": restored("base", *TOKENIZER),
    "models: an empty tokenizer": restored("base", "tokenizer.json"),
    "models: a cut-off tokenizer": restored("base", "tokenizer.json"),
    "models: a broken tokenizer_config.json": restored("base", "tokenizer_config.json"),
    "models: no config.json": typed("reranker.model={models}/base"),
    "models: a broken config.json": restored("base", "config.json"),
    "models: config.json in UTF-16": restored("base", "config.json"),
    "models: a list for config.json": restored("base", "config.json"),
    "models: a folder for config.json": typed("reranker.model={models}/base"),
    "models: a text for the number of layers": restored("base", "config.json"),
    "models: a number for the architecture": restored("base", "config.json"),
    "models: no architecture": typed("reranker.model={models}/base"),
    "models: an unknown kind of model": restored("base", "config.json"),
    "models: no weights": restored("base", "model.safetensors"),
    "models: pickle weights only": restored("base", "model.safetensors"),
    "models: cut-off weights": restored("base", "model.safetensors"),
    "models: weights of three bytes": restored("base", "model.safetensors"),
    "models: a git-lfs pointer": restored("base", "model.safetensors"),
    "models: a header that is no JSON": restored("base", "model.safetensors"),
    "models: bytes behind the weights": restored("base", "model.safetensors"),
    "models: weights that are not the model's": restored("base", "model.safetensors"),
    "models: weights without the classifier": restored("base", "model.safetensors"),
    "models: weights without a layer": restored("base", "model.safetensors"),
    "models: no room for a token": restored("base", "config.json"),
    "models: a broken modules.json": typed("reranker.model={models}/base"),
    "models: an index without a map": restored("base", "model.safetensors"),
    "models: an adapter of another kind": typed("reranker.adapter=null"),
    "models: a head that there is not": typed("reranker.head=first"),
    "models: a page of the hub": as_offered_id(),
    "models: a revision behind the name": as_offered_id(),
    "models: weights of another width": restored("base"),
    "models: weights that are NaN": restored("base"),
    "models: a file of the index is missing": restored("base"),
    "models: an index that leaves the folder": restored("base"),
    "models: a link to nothing": restored("base"),
    "models: a LoRA adapter": typed("reranker.model={models}/base", "reranker.adapter={here}/model"),
    "models: a file for the folder": typed("reranker.model={models}/base"),
    "models: a path with ..": typed("reranker.model={models}/base"),
    "models: neither folder nor hub id": typed("reranker.model={models}/base"),
    "models: a revision with ..": typed("reranker.model={models}/base", "reranker.revision=null"),
    "models: an embedder without a tokenizer": restored("bge-small-en", *TOKENIZER),
    "models: an embedder without a layer": restored("bge-small-en", "model.safetensors"),
    "models: an embedder's pickle weights": restored("bge-small-en", "model.safetensors"),
    "models: an embedder of NaN": restored("bge-small-en"),
    "rerankbench-serve: a model that is gone": restored("base"),
    "rerankbench-serve: a model with other weights": restored("base", "model.safetensors"),
    "strangers' configs: a launcher of their own": typed("hydra/launcher=basic"),
    "strangers' configs: a sweeper of their own": typed("hydra/sweeper=basic"),
    "strangers' configs: something built inside the launcher": typed("hydra/launcher=joblib"),
    "strangers' configs: a sampler of their own": typed("hydra/sweeper=basic"),
    "strangers' configs: a search space by a function": typed("hydra/sweeper=basic"),
    "strangers' configs: a launcher that takes the usual one's place": own("hydra/launcher/basic.yaml", ""),
    "strangers' configs: logging chosen as an option": without("hydra/job_logging"),
    "strangers' configs: a config.yaml": own("config.yaml", ""),
    "strangers' configs: a hydra/config.yaml": own("hydra/config.yaml", ""),
    "strangers' configs: an option that is not there": typed("reranker=theirs"),
    "strangers' configs: a file for the folder": without("--config-dir", "data/corpus.jsonl"),
    **{f"strangers' configs: {name}": FAMILY for name in (
        "a target in a group", "a Python object in YAML", "broken YAML", "a tab in YAML", "a key twice",
        "a list for a config", "Latin-1 in YAML", "a NUL byte in YAML", "an unknown family",
    )},
    **{f"strangers' configs: {name}": PRESET for name in (
        "a callback of their own", "a function of ours as a callback", "a callback of Hydra's that pickles",
        "a callback inside one of ours", "a target by interpolation", "a callback out of a resolver",
        "a callback out of another key", "a logging factory", "a logging factory of Hydra's",
        "a handler that sends logs away", "a stream out of a module", "a module out of a format", "a module out of a date",
        "environment variables",
        "commands before a job", "code for a cluster", "a sweep over Hydra's own keys", "a sweep that chooses it",
        "a name that clears the screen",
    )},
}  # fmt: skip
