# ruff: noqa: E501 -- a table: one line for each fault
"""Commands with a mistake in their settings: what it is about, and the command that cures it.

`{root}` is a folder made by `make_folders`. A cured command is one that could be run, or that has another
mistake only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from collections_on_disk import beir
from rerankbench.basics.errors import Kind


class ConfigFault(NamedTuple):
    """A command, the key and the kind of its first mistake, and the command without it."""

    command: str
    key: str
    kind: Kind
    cured: str


CONFIG_FAULTS = [
    ConfigFault(*row)
    for row in [
        ("depth=abc", "depth", "type", "depth=5"),
        ("depth=1.5", "depth", "type", "depth=1"),
        ("depth=", "depth", "type", "depth=5"),
        ("depth=[1]", "depth", "type", "depth=1"),
        ("depth=-1", "depth", "value", "depth=0"),
        ("depth=101", "depth", "value", "depth=101 candidates=101"),
        ("depth", "depth", "syntax", "depth=5"),
        ("depth==5", "depth", "syntax", "depth=5"),
        ("depth=???", "depth", "missing", "depth=5"),
        ("depth=${candidats}", "depth", "type", "depth=${candidates}"),
        ("depth=${foo:1}", "depth", "type", "depth=1"),
        ("depth=1,2", "depth", "sweep", "-m depth=1,2"),
        ("cutoffs=1,10", "cutoffs", "sweep", "cutoffs=[1,10]"),
        ("depth=range(1,5)", "depth", "sweep", "-m depth=range(1,5)"),
        ("-m depth=choice(1,2", "depth", "syntax", "-m depth=choice(1,2)"),
        ("depth.x=1", "depth", "type", "depth=1"),
        ("dataset.name=${", "dataset.name", "type", "dataset.name=${tracking.experiment}"),
        ("hydra/foo=basic", "hydra/foo", "key", "hydra/launcher=basic"),
        ("-m hydra/launcher=basic,joblib", "hydra/launcher", "sweep", "-m hydra/launcher=basic"),
        ("~depth", "depth", "syntax", "depth=null"),
        ("depht=5", "depht", "key", "depth=5"),
        ("top_k=5", "top_k", "key", "candidates=5"),
        ("+foo=1", "foo", "key", ""),
        ("++foo=1", "foo", "key", ""),
        ("+reranker.foo=1", "reranker.foo", "key", ""),
        ("candidates=-3", "candidates", "value", "candidates=1"),
        ("candidates=0", "candidates", "value", "candidates=1"),
        ("candidates=0 depth=5", "candidates", "value", "candidates=5 depth=5"),
        ("candidates=null", "candidates", "type", "candidates=100"),
        ("candidates=ten", "candidates", "type", "candidates=10"),
        ("cutoffs=5", "cutoffs", "type", "cutoffs=[5]"),
        ("cutoffs=[]", "cutoffs", "value", "cutoffs=[1,10]"),
        ("cutoffs=[0,10]", "cutoffs", "value", "cutoffs=[1,10]"),
        ("cutoffs=[-1]", "cutoffs", "value", "cutoffs=[1,10]"),
        ("cutoffs=[a]", "cutoffs", "type", "cutoffs=[1]"),
        ("cutoffs=[[1],[2]]", "cutoffs", "type", "cutoffs=[1,2]"),
        ("cutoffs=[1,10", "cutoffs", "syntax", "cutoffs=[1,10]"),
        ("cutoffs=[1,1000]", "cutoffs", "value", "candidates=1000 cutoffs=[1,1000]"),
        ("measures=tutorials", "measures", "value", "measures=standard"),
        ("batch_size=0", "batch_size", "value", "batch_size=1"),
        ("batch_size=big", "batch_size", "type", "batch_size=64"),
        ("batch_tokens=-5", "batch_tokens", "value", "batch_tokens=1"),
        ("threads=0", "threads", "value", "threads=1"),
        ("seed=null", "seed", "type", ""),
        ("reuse=maybe", "reuse", "type", "reuse=false"),
        ("latency=5.5", "latency", "type", "latency=true"),
        ("cache_dir=null", "cache_dir", "type", ""),
        ("precision=fp16 device=cpu", "device", "value", "precision=auto device=cpu"),
        ("precision=fp8", "device", "value", "precision=use_fp16"),
        ("device=gpu", "device", "value", "device=cpu"),
        ("device=cpu:1", "device", "value", "device=cpu"),
        ("device=cuda:x", "device", "value", "device=auto"),
        ("reranker=minilmm", "reranker", "option", "reranker=minilm"),
        ("reranker=[a,b]", "reranker", "option", "reranker=base"),
        ("reranker=null", "reranker", "option", "reranker=none"),
        ("~reranker", "reranker", "syntax", "reranker=none"),
        ("reranker@other=base", "reranker", "syntax", "reranker=base"),
        ("dataset=scifact", "dataset", "option", "dataset=sample"),
        ("embedder=bge", "embedder", "option", "embedder=bge-m3"),
        ("index=faiss", "index", "option", "index=flat"),
        ("first_stage=splade", "first_stage", "option", "first_stage=bm25"),
        ("tracking=wandb", "tracking", "option", "tracking=none"),
        ("executor=slurm", "executor", "option", "executor=local"),
        ("experiment=tutrial", "experiment", "option", "experiment=tutorial"),
        ("hydra/launcher=slurm", "hydra/launcher", "option", "hydra/launcher=basic"),
        ("hydra.run.foo=1", "hydra.run.foo", "key", "hydra.run.dir=foo"),
        ("reranker.max_lenght=9", "reranker.max_lenght", "key", "reranker.max_length=9"),
        ("reranker.max_length=4", "reranker", "value", "reranker.max_length=8"),
        ("reranker.max_length=513", "reranker", "value", "reranker.max_length=512"),
        ("embedder.query_max_length=600", "embedder", "value", "embedder.query_max_length=512"),
        ("reranker.max_length=long", "reranker.max_length", "type", "reranker.max_length=256"),
        ("reranker.query_max_length=600", "reranker", "value", "reranker.query_max_length=511"),
        ("reranker.attention=flash", "reranker", "value", "reranker.attention=eager"),
        ("reranker.long_documents=split", "reranker", "value", "reranker.long_documents=max_passage"),
        (
            "reranker.long_documents=max_passage reranker.window_overlap=-1",
            "reranker",
            "value",
            "reranker.long_documents=max_passage reranker.window_overlap=128",
        ),
        (
            "reranker.cutoff_layers=[8]",
            "reranker.cutoff_layers",
            "key",
            "reranker=minicpm-layerwise reranker.cutoff_layers=[8]",
        ),
        ("reranker.model=???", "reranker.model", "missing", "reranker.model={root}/encoder"),
        ("reranker.model=''", "reranker.model", "place", "reranker.model=BAAI/bge-reranker-base"),
        ("reranker.model=/not/there", "reranker.model", "place", "reranker.model={root}/encoder"),
        (
            "reranker.model=wheel:minilm",
            "reranker.model",
            "place",
            "reranker.model=wheel:ms-marco-MiniLM-L-12-v2",
        ),
        ("reranker.model={root}/no-config", "reranker.model", "place", "reranker.model={root}/encoder"),
        ("reranker.model={root}/bert", "reranker", "value", "reranker.model={root}/encoder"),
        ("reranker.model={root}/three-labels", "reranker", "value", "reranker.model={root}/encoder"),
        (
            "reranker=gemma reranker.model={root}/encoder",
            "reranker",
            "value",
            "reranker=base reranker.model={root}/encoder",
        ),
        (
            "reranker=lightweight reranker.model={root}/layerwise",
            "reranker",
            "value",
            "reranker=minicpm-layerwise reranker.model={root}/layerwise",
        ),
        (
            "reranker=minicpm-layerwise reranker.model={root}/layerwise reranker.cutoff_layers=[4,99]",
            "reranker",
            "value",
            "reranker=minicpm-layerwise reranker.model={root}/layerwise reranker.cutoff_layers=[2,6]",
        ),
        (
            "reranker=minicpm-layerwise reranker.cutoff_layers=[8,8]",
            "reranker",
            "value",
            "reranker=minicpm-layerwise reranker.cutoff_layers=[8]",
        ),
        (
            "reranker=minicpm-layerwise reranker.cutoff_layers=last",
            "reranker",
            "value",
            "reranker=minicpm-layerwise reranker.cutoff_layers=all",
        ),
        (
            "reranker=lightweight reranker.compress_ratio=3",
            "reranker",
            "value",
            "reranker=lightweight reranker.compress_ratio=2",
        ),
        ("embedder.pooling=max", "embedder", "value", "embedder.pooling=mean"),
        ("embedder.max_length=1", "embedder", "value", "embedder.max_length=4"),
        ("embedder.model=/not/there", "embedder.model", "place", "embedder.model={root}/bert"),
        ("index.factory=Nope", "index", "value", "index.factory=IVF4096,PQ64"),
        (
            "first_stage=run",
            "first_stage.path",
            "missing",
            "first_stage=run first_stage.path={root}/data/run.trec",
        ),
        (
            "first_stage=run first_stage.path=/not/there",
            "first_stage",
            "place",
            "first_stage=run first_stage.path={root}/data/run.trec",
        ),
        (
            "first_stage=bm25 first_stage.language=klingon",
            "first_stage",
            "value",
            "first_stage=bm25 first_stage.language=german",
        ),
        ("first_stage=bm25 first_stage.b=2", "first_stage", "value", "first_stage=bm25 first_stage.b=1"),
        ("dataset.path=x", "dataset.path", "key", "dataset=beir dataset.path={root}/data"),
        ("dataset=beir", "dataset.path", "missing", "dataset=beir dataset.path={root}/data"),
        ("dataset=beir dataset.path=/not/there", "dataset", "place", "dataset=beir dataset.path={root}/data"),
        (
            "dataset=beir dataset.path={root}/data dataset.split=dev",
            "dataset",
            "place",
            "dataset=beir dataset.path={root}/data dataset.split=test",
        ),
        (
            "dataset=files",
            "dataset.corpus",
            "missing",
            "dataset=files dataset.corpus={root}/data/corpus.jsonl dataset.queries={root}/data/queries.jsonl dataset.qrels={root}/data/qrels/test.tsv",
        ),
        (
            "dataset=files dataset.corpus={root}/empty.tsv dataset.queries=/q dataset.qrels=/r",
            "dataset",
            "place",
            "dataset=files dataset.corpus={root}/data/corpus.jsonl dataset.queries={root}/data/queries.jsonl dataset.qrels={root}/data/qrels/test.tsv",
        ),
        ("dataset.limit_queries=0", "dataset", "place", "dataset.limit_queries=1"),
        ("dataset.relevance_threshold=0", "dataset", "place", "dataset.relevance_threshold=1"),
        ("tracking.uri=here", "tracking", "value", "tracking.uri=sqlite:///path/to/mlflow.db"),
        ("tracking.uri=sqlite://mlflow.db", "tracking", "value", "tracking.uri=sqlite:///mlflow.db"),
        ("tracking.uri=sqlite:///{root}", "tracking", "value", "tracking.uri=sqlite:///{root}/mlflow.db"),
        (
            "tracking.uri=sqlite:///{root}/empty.tsv/mlflow.db",
            "tracking",
            "value",
            "tracking.uri=sqlite:///{root}/mlflow.db",
        ),
        (
            "tracking.uri=${oc.env:NO_SUCH_VARIABLE}",
            "tracking.uri",
            "type",
            "tracking.uri=${oc.env:NO_SUCH_VARIABLE,http://host:5000}",
        ),
        ("tracking.experiment=''", "tracking", "value", "tracking.experiment=mine"),
        ("report.measure=ndcg@10", "report", "value", "report.measure=ndcg_at_10"),
        (
            "report.measure=ndcg_at_5",
            "report.measure",
            "value",
            "report.measure=ndcg_at_5 cutoffs=[1,5,10,100]",
        ),
        (
            "-m reranker=none,minilm cutoffs=[5] report.measure=ndcg_at_10",
            "report.measure",
            "value",
            "-m reranker=none,minilm cutoffs=[5] report.measure=ndcg_at_5",
        ),
        (
            "report.measure=tutorial_mrr_at_10",
            "report.measure",
            "value",
            "report.measure=tutorial_mrr_at_10 measures=tutorial",
        ),
        ("report.delta=-1", "report", "value", "report.delta=0.01"),
        ("report.level=95", "report", "value", "report.level=0.95"),
        ("report.budget.ram=5", "report.budget.ram", "key", "report.budget.memory_mb=5"),
        ("--depth=5", "", "syntax", "depth=5"),
        ("--foo", "", "syntax", "--help"),
        ("--cfg everything", "", "value", "--cfg job"),
        ("--config-dir /not/there", "", "value", "--config-dir {root}/own"),
        ("--config-dir", "", "value", "--config-dir {root}/own"),
        ("-m depth=interval(1,5)", "depth", "sweep", "-m depth=1,2,3"),
        ("-m depth=5,x", "depth", "type", "-m depth=5,6"),
        ("-m depth=10,500", "depth", "value", "-m depth=10,500 candidates=500"),
        ("-m reranker=none,minilm depth=500,20", "depth", "value", "-m reranker=none,minilm depth=100,20"),
        ("-m reranker=none,nine", "reranker", "option", "-m reranker=none,base"),
        (
            "-m reranker=none,minilm reranker.cutoff_layers=[8]",
            "reranker.cutoff_layers",
            "key",
            "-m reranker=minicpm-layerwise,lightweight reranker.cutoff_layers=[8]",
        ),
        ("-m hydra/sweeper=grid", "hydra/sweeper", "option", "-m hydra/sweeper=basic"),
        ("experiment=tutorial depth=five", "depth", "type", "experiment=tutorial depth=5"),
        ("minilm", "minilm", "syntax", "embedder=minilm"),
        ("help", "help", "syntax", "--help"),
        (
            "dataset=files dataset.corpus= dataset.queries={root}/data/queries.jsonl dataset.qrels={root}/data/qrels/test.tsv",
            "dataset",
            "place",
            "dataset=files dataset.corpus={root}/data/corpus.jsonl dataset.queries={root}/data/queries.jsonl dataset.qrels={root}/data/qrels/test.tsv",
        ),
        (
            "first_stage=run first_stage.path=",
            "first_stage",
            "place",
            "first_stage=run first_stage.path={root}/data/run.trec",
        ),
        ("dataset=beir dataset.path=", "dataset", "place", "dataset=beir dataset.path={root}/data"),
        (
            "dataset=beir dataset.path={root}/no-config",
            "dataset",
            "place",
            "dataset=beir dataset.path={root}/data",
        ),
        ("cache_dir=/proc/nope", "cache_dir", "value", "cache_dir={root}/cache"),
        ("hydra.run.dir=/proc/nope", "hydra.run.dir", "value", "hydra.run.dir={root}/out"),
        (
            "first_stage=hybrid first_stage.dense_weight=0.3",
            "first_stage.dense_weight",
            "idle",
            "first_stage=hybrid first_stage.dense_weight=0.3 first_stage.fusion=weighted",
        ),
        (
            "reranker.window_overlap=64",
            "reranker.window_overlap",
            "idle",
            "reranker.window_overlap=64 reranker.long_documents=max_passage",
        ),
        (
            "-m reranker.window_overlap=32,64",
            "reranker.window_overlap",
            "idle",
            "-m reranker.window_overlap=32,64 reranker.long_documents=max_passage",
        ),
        ("=5", "", "syntax", "depth=5"),
    ]
]
SEVERAL = [  # commands with more than one mistake in them
    "reranker.model={root}/no-config",
    "dataset=files",
    "dataset=files dataset.corpus={root}/empty.tsv dataset.queries=/q dataset.qrels=/r",
    "-m reranker=none,minilm reranker.cutoff_layers=[8]",
    "-m reranker.window_overlap=32,64",
]


def make_folders(folder: Path) -> Path:
    """Folders with mistakes in them, and one that is right, `data`."""
    root = beir(folder / "data")
    models = root.parent
    described = {
        "encoder": {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}, "num_hidden_layers": 2},
        "three-labels": {"architectures": ["BertForSequenceClassification"], "id2label": dict.fromkeys("012", "x")},
        "bert": {"architectures": ["BertModel"], "num_hidden_layers": 2},
        "layerwise": {
            "architectures": ["LayerWiseMiniCPMForCausalLM"],
            "start_layer": 2, "num_hidden_layers": 6, "auto_map": {},
        },
    }  # fmt: skip
    for name, description in described.items():
        (models / name).mkdir()
        labels = description.get("id2label")
        extra = {"num_labels": len(labels)} if isinstance(labels, dict) else {}
        (models / name / "config.json").write_text(json.dumps({"model_type": "bert", **description, **extra}))
        (models / name / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
        (models / name / "tokenizer.json").write_text("{}")
        (models / name / "vocab.txt").write_text("[UNK]\n")
    (models / "no-config").mkdir()
    (models / "own").mkdir()
    (models / "empty.tsv").write_text("")
    (root / "run.trec").write_text("1 Q0 d1 1 2.5 theirs\n")
    return root
