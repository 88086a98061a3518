"""Collections of the Hugging Face hub in MTEB's layout: a corpus, queries and judgements as three configs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rerankbench.collections.reading import hub_access
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.conversion import Stored, stored_table
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.hub_access import dataset_rows, is_local, load_split, local_split
from rerankbench.collections.reading.judgements import read_judgements
from rerankbench.collections.reading.layout import DOCUMENTS, JUDGEMENTS, QUERIES, Layout
from rerankbench.collections.reading.tables import Tables, numeric_ids
from rerankbench.collections.sources.source import Source

TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Hub(Source):
    """path: a hub id such as mteb/scifact, or a folder of the same layout.

    split: the split of the judgements. revision: a commit, tag or branch (null: the newest).
    corpus_config, queries_config: the config's name on the hub. qrels_config: null takes `qrels`, or else
    `default`. qrels_path: another dataset that holds the judgements, such as BeIR/scifact-qrels. Where there
    is nothing but a corpus and queries, nobody has judged yet.
    """

    kind: ClassVar[str] = "hub"

    path: str
    split: str = TEST
    revision: str | None = None
    corpus_config: str = "corpus"
    queries_config: str = "queries"
    qrels_config: str | None = None
    qrels_path: str | None = None

    @property
    def default_name(self) -> str:
        return Path(self.path).name

    def place_problems(self) -> list[str]:
        paths = [path for path in (self.path, self.qrels_path) if path is not None]
        return [problem for path in paths for problem in hub_access.path_problems(path)]

    def places(self) -> tuple[str, ...]:
        given = {key: getattr(self, key) for key in ("path", "qrels_path")}
        return tuple(key for key, path in given.items() if path is not None and is_local(path))

    def read(self, cache_dir: Path) -> Parts:
        tables = self._folder_tables() if is_local(self.path) else None
        return tables.read(cache_dir) if tables else self._load(cache_dir)

    def _folder_tables(self) -> Tables | None:
        """The three files of a local folder, where they have their usual names."""
        folder = Path(self.path).expanduser()
        judged = Path(self.qrels_path).expanduser() if self.qrels_path else folder
        places = (self.qrels_config or "qrels", "data", "default", "")
        corpus = local_split(folder, self.corpus_config, ("",))
        queries = local_split(folder, self.queries_config, ("",))
        judgements = local_split(judged, self.split, places)
        if corpus is None or queries is None:
            return None
        if judgements is None and not (self._unasked and self._alone(folder)):
            return None
        return Tables(corpus=corpus, queries=queries, judgements=judgements)

    @property
    def _unasked(self) -> bool:
        """Whether no setting says that there are judgements."""
        return self.split == TEST and self.qrels_config is None and self.qrels_path is None

    def _alone(self, folder: Path) -> bool:
        """Whether a local folder holds the corpus and the queries, and no other data."""
        return hub_access.others(folder, (self.corpus_config, self.queries_config)) == []

    def _unjudged(self) -> bool:
        """Whether a dataset has configs for the corpus and the queries, and no other."""
        own = {self.corpus_config, self.queries_config}
        return self._unasked and set(hub_access.config_names(self.path, self.revision)) == own

    def _load(self, cache_dir: Path) -> Parts:
        qrels_path = self.qrels_path or self.path
        qrels_config = self.qrels_config or self._judgements_config(qrels_path)
        configs = (self.corpus_config, self.queries_config, qrels_config or "qrels")
        places = zip((self.path, self.path, qrels_path), configs, strict=True)
        logs = [FileLog(Path(f"{path} {name}"), "row") for path, name in places]
        documents = self._records(self.corpus_config, DOCUMENTS, logs[0], cache_dir)
        queries = self._records(self.queries_config, QUERIES, logs[1], cache_dir)
        judgements = None
        if not self._unjudged():
            table = load_split(qrels_path, qrels_config, self.split, self._qrels_revision, cache_dir)
            judgements = read_judgements(dataset_rows(table, JUDGEMENTS, logs[2]), logs[2])
        exchange = f"dataset.corpus_config={self.queries_config} dataset.queries_config={self.corpus_config}"
        return Parts(
            documents=documents,
            queries=queries.table,
            judgements=judgements,
            logs=logs,
            findings=numeric_ids(logs),
            exchange_cure=f"set {exchange}",
        )

    def _records(self, config: str, layout: Layout, log: FileLog, cache_dir: Path) -> Stored:
        have = hub_access.split_names(self.path, config, self.revision)
        split = next((name for name in (config, self.split) if name in have), have[0] if have else config)
        table = load_split(self.path, config, split, self.revision, cache_dir)
        identity = f"{self.path} {config} {split} {table._fingerprint} {layout.identity}"
        return stored_table(dataset_rows(table, layout, log), identity, log, cache_dir)

    def _judgements_config(self, path: str) -> str | None:
        have = hub_access.config_names(path, self._qrels_revision)
        return next((name for name in ("qrels", "default") if name in have), None)

    @property
    def _qrels_revision(self) -> str | None:
        """The revision is the corpus dataset's; another dataset is taken at its newest."""
        return self.revision if self.qrels_path is None else None
