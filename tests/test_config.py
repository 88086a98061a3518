"""Every config composes into typed settings, and every mistake is named before anything is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from rerankbench import complaints, config, preflight, usage
from rerankbench.errors import UserError

CONF = preflight.conf_folder()
YAMLS = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
NEEDS = {  # what an option cannot do without; {here} is a folder with a BEIR collection
    "dataset/beir": ["dataset.path={here}"],
    "dataset/files": ["dataset.corpus={here}/corpus.jsonl", "dataset.queries={here}/queries.jsonl",
                      "dataset.qrels={here}/qrels/test.tsv"],
    "dataset/hub": ["dataset.path=mteb/scifact"],
    "dataset/ir_datasets": ["dataset.id=beir/scifact/test"],
    "first_stage/run": ["first_stage.path={here}/run.trec"],
}  # fmt: skip
DESIGN = {
    "dataset": "sample msmarco beir ir_datasets hub files",
    "embedder": "minilm bge-small-en bge-base-en bge-large-en bge-m3",
    "index": "flat ivf hnsw",
    "first_stage": "dense bm25 hybrid run",
    "reranker": "none minilm base large v2-m3 gemma minicpm-layerwise lightweight",
    "tracking": "mlflow none",
    "executor": "local",
    "experiment": "tutorial reranker-sizes",
}


@pytest.fixture(autouse=True)
def _schemas() -> None:
    config.register_schemas()


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_folders(tmp_path_factory.mktemp("bad"))
    (folder / "run.trec").write_text("1 Q0 d1 1 2.5 theirs\n")
    return folder


def make_folders(folder: Path) -> Path:
    """Folders with mistakes in them, and one that is right, `data`."""
    from collections_on_disk import beir

    root = beir(folder / "data")
    models = root.parent
    described = {
        "encoder": {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}, "num_hidden_layers": 2},  # noqa: E501
        "three-labels": {"architectures": ["BertForSequenceClassification"], "id2label": dict.fromkeys("012", "x")},  # noqa: E501
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
    (models / "empty.tsv").write_text("")
    return root


def test_there_are_configs_for_everything_that_the_design_names() -> None:
    for group, names in DESIGN.items():
        assert set(names.split()) <= {path.stem for path in (CONF / group).glob("*.yaml")}, group


@pytest.mark.parametrize("path", YAMLS, ids=str)
def test_every_yaml_says_when_to_choose_it(path: Path) -> None:
    said = usage.comment(CONF / path)
    assert 20 <= len(said) <= 160
    assert said.endswith(".")


@pytest.mark.parametrize("path", [path for path in YAMLS if path.parts[0] != "hydra"], ids=str)
def test_every_yaml_composes_into_typed_settings(path: Path, here: Path) -> None:
    option = str(path.with_suffix(""))
    group, _, name = option.partition("/")
    overrides = [f"{group}={name}"] if name else []
    overrides += [line.format(here=here) for line in NEEDS.get(option, [])]
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        settings = config.read(compose("config", overrides))
    if name and group != "experiment":
        assert isinstance(getattr(settings, group), config.GROUPS[group].base)
    assert settings.cutoffs[:2] == (1, 10)


def test_the_default_experiment() -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        settings = config.read(compose("config", ["cache_dir='~/somewhere'"]))
    assert settings.cutoffs == (1, 10, 100)
    assert settings.depth == settings.candidates == 100
    assert settings.cache_dir == Path.home() / "somewhere"


# A command, and what its complaint must hold: the key, the value, the cure.
FAULTS = [
    ("depth=abc", "depth=abc: give a whole number"),
    ("depth=1.5", "depth=1.5: give a whole number"),
    ("depth=", "depth=: give a whole number"),
    ("depth=[1]", "depth=[1]: give a whole number"),
    ("depth=-1", "depth=-1: give at least 0"),
    ("depth=101", "depth=101: more than the candidates=100 kept; raise it with candidates=101"),
    ("depth", "depth: a setting needs a value, depth=VALUE"),
    ("depth==5", "depth==5: the value cannot be read; write depth=5"),
    ("depth=???", "depth is needed: add depth=VALUE"),
    ("depth=${candidats}", "depth=${candidats}: Interpolation key 'candidats' not found"),
    ("depth=${foo:1}", "depth=${foo:1}: Unsupported interpolation type foo"),
    ("depth=1,2", "depth=1,2: several values need -m for a sweep, or brackets for a list: depth=[1,2]"),
    ("depth=range(1,5)", "depth=range(1,5): several values need -m"),
    ("depth=choice(1,2", "brackets () do not match"),
    ("depth.x=1", "depth={'x': 1}: give a whole number"),
    ("~depth", "~depth: depth cannot be taken away"),
    ("depht=5", "depht=5: there is no such key; did you mean depth?"),
    ("top_k=5", "top_k=5: there is no such key; known keys: dataset, embedder"),
    ("+foo=1", "foo=1: there is no such key"),
    ("++foo=1", "foo=1: there is no such key"),
    ("+reranker.foo=1", "reranker.foo=1: there is no such key"),
    ("candidates=-3", "candidates=-3: give at least 1"),
    ("candidates=0", "candidates=0: give at least 1"),
    ("candidates=0 depth=5", "candidates=0: give at least 1"),
    ("candidates=null", "candidates=null: null is not possible here"),
    ("candidates=ten", "candidates=ten: give a whole number"),
    ("cutoffs=5", "cutoffs=5: give a list, for instance [1,10]"),
    ("cutoffs=[]", "cutoffs=[]: give a list of numbers from 1"),
    ("cutoffs=[0,10]", "cutoffs=[0, 10]: give a list of numbers from 1"),
    ("cutoffs=[-1]", "cutoffs=[-1]: give a list of numbers from 1"),
    ("cutoffs=[a]", "cutoffs=['a']: give a whole number"),
    ("cutoffs=[1,10", "cutoffs=[1,10: the brackets [] do not match"),
    ("cutoffs=[1,1000]", "1000 is more than the candidates=100 kept; raise it with candidates=1000"),
    ("measures=tutorials", "measures=tutorials: choose standard, or tutorial"),
    ("batch_size=0", "batch_size=0: give at least 1"),
    ("batch_size=big", "batch_size=big: give a whole number"),
    ("batch_tokens=-5", "batch_tokens=-5: give at least 1"),
    ("threads=0", "threads=0: give at least 1"),
    ("seed=null", "seed=null: null is not possible here"),
    ("reuse=maybe", "reuse=maybe: give true or false"),
    ("latency=5.5", "latency=5.5: give true or false"),
    ("cache_dir=null", "cache_dir=null: null is not possible here"),
    ("precision=fp16 device=cpu", "precision=fp16: CPUs multiply fp16 more slowly"),
    ("precision=fp8", "precision=fp8: choose one of auto, fp32, fp16, bf16, use_fp16"),
    ("device=gpu", "device=gpu: choose auto, cpu, cuda, cuda:N or mps"),
    ("device=cpu:1", "device=cpu:1: choose auto"),
    ("device=cuda:x", "device=cuda:x: choose auto"),
    ("reranker=minilmm", "reranker=minilmm: there is no such option; did you mean minilm? choose one of base, gemma"),  # noqa: E501
    ("reranker=[a,b]", "there is no such option; choose one of base"),
    ("reranker=null", "reranker=null: there is no such option"),
    ("~reranker", "~reranker: reranker cannot be taken away"),
    ("reranker@other=base", "options have no package here; write reranker=base"),
    ("dataset=scifact", "dataset=scifact: there is no such option; choose one of beir, files, hub"),
    ("embedder=bge", "embedder=bge: there is no such option"),
    ("index=faiss", "index=faiss: there is no such option; choose one of flat, hnsw, ivf"),
    ("first_stage=splade", "first_stage=splade: there is no such option; choose one of bm25"),
    ("tracking=wandb", "tracking=wandb: there is no such option; choose one of mlflow, none"),
    ("executor=slurm", "executor=slurm: there is no such option; choose one of"),
    ("experiment=tutrial", "experiment=tutrial: there is no such option; did you mean tutorial?"),
    ("hydra/launcher=slurm", "hydra/launcher=slurm: there is no such option; choose one of basic"),
    ("hydra.run.foo=1", "hydra.run.foo=1: there is no such key; known keys: dir"),
    ("reranker.max_lenght=9", "did you mean reranker.max_length? (this is reranker=minilm)"),
    ("reranker.max_length=4", "reranker.max_length=4: give at least 8 tokens"),
    ("reranker.max_length=513", "reranker.max_length=513: the model reads at most 512 tokens; give no more"),
    ("embedder.query_max_length=600", "embedder.query_max_length=600: the model reads at most 512"),
    ("reranker.max_length=long", "reranker.max_length=long: give a whole number"),
    ("reranker.query_max_length=600", "reranker.query_max_length=600: choose between 1 and"),
    ("reranker.attention=flash", "reranker.attention=flash: choose one of sdpa"),
    ("reranker.long_documents=split", "reranker.long_documents=split: choose truncate"),
    ("reranker.long_documents=max_passage reranker.window_overlap=-1", "reranker.window_overlap=-1: choose between 0"),  # noqa: E501
    ("reranker.cutoff_layers=[8]", "reranker.cutoff_layers=[8]: there is no such key"),
    ("reranker.model=???", "reranker.model is needed: add reranker.model=VALUE"),
    ("reranker.model=''", "reranker.model is empty"),
    ("reranker.model=/not/there", "reranker.model /not/there: no such folder"),
    ("reranker.model=wheel:minilm", "reranker.model wheel:minilm: no such packaged model"),
    ("reranker.model={root}/no-config", "{root}/no-config"),
    ("reranker.model={root}/bert", "holds BertModel, not a sequence classifier; choose the option of its family"),  # noqa: E501
    ("reranker.model={root}/three-labels", "has 3 labels; a reranker needs exactly one"),
    ("reranker=gemma reranker.model={root}/encoder", "holds BertForSequenceClassification, not a plain causal"),  # noqa: E501
    ("reranker=lightweight reranker.model={root}/layerwise", "family lightweight needs CostWiseGemmaForCausalLM"),  # noqa: E501
    ("reranker=minicpm-layerwise reranker.model={root}/layerwise reranker.cutoff_layers=[4,99]",
     "this model has no scoring head at layer 99; choose from 2 to 6"),
    ("reranker=minicpm-layerwise reranker.cutoff_layers=[8,8]", "layer 8 is named twice"),
    ("reranker=minicpm-layerwise reranker.cutoff_layers=last", "give `all` or a list of layer numbers"),
    ("reranker=lightweight reranker.compress_ratio=3", "reranker.compress_ratio=3: choose 1 (off), 2, 4 or 8"),  # noqa: E501
    ("embedder.pooling=max", "embedder.pooling=max: choose cls (BGE) or mean"),
    ("embedder.max_length=1", "embedder.max_length=1: give at least 4 tokens"),
    ("embedder.model=/not/there", "embedder.model /not/there: no such folder"),
    ("index.factory=Nope", "index.factory=Nope: FAISS does not know this factory string"),
    ("first_stage=run", "first_stage.path is needed: add first_stage.path=VALUE"),
    ("first_stage=run first_stage.path=/not/there", "first_stage.path=/not/there: there is no such file"),
    ("first_stage=bm25 first_stage.language=klingon", "first_stage.language=klingon: choose one of arabic"),
    ("first_stage=bm25 first_stage.b=2", "first_stage.b=2"),
    ("dataset.path=x", "dataset.path=x: there is no such key; known keys: name"),
    ("dataset=beir", "dataset.path is needed: add dataset.path=VALUE"),
    ("dataset=beir dataset.path=/not/there", "dataset.path=/not/there: there is no such folder"),
    ("dataset=beir dataset.path={root}/data dataset.split=dev", "dataset.split=dev"),
    ("dataset=files", "dataset.corpus is needed"),
    ("dataset=files dataset.corpus={root}/empty.tsv dataset.queries=/q dataset.qrels=/r", "the file is empty"),  # noqa: E501
    ("dataset.limit_queries=0", "dataset.limit_queries=0: must be at least 1"),
    ("dataset.relevance_threshold=0", "dataset.relevance_threshold=0: must be at least 1"),
    ("tracking.uri=here", "tracking.uri=here: give sqlite:///path/to/mlflow.db, or http://host:port"),
    ("tracking.uri=sqlite://mlflow.db", "write three slashes and a file"),
    ("tracking.uri=sqlite:///{root}", "is a folder; give a file in it"),
    ("tracking.uri=sqlite:///{root}/empty.tsv/mlflow.db", "choose another place"),
    ("tracking.uri=${oc.env:NO_SUCH_VARIABLE}", "Environment variable 'NO_SUCH_VARIABLE' not found"),
    ("tracking.experiment=''", "tracking.experiment is empty"),
    ("report.measure=ndcg@10", "report.measure=ndcg@10: write it like ndcg_at_10"),
    ("report.measure=ndcg_at_5", "report.measure=ndcg_at_5: 5 is not among cutoffs=[1,10,100]; give cutoffs=[1,5,10,100] or report.measure=ndcg_at_10"),  # noqa: E501
    ("-m reranker=none,minilm cutoffs=[5] report.measure=ndcg_at_10", "10 is not among cutoffs=[5]; give cutoffs=[5,10] or report.measure=ndcg_at_5"),  # noqa: E501
    ("report.measure=tutorial_mrr_at_10", "report.measure=tutorial_mrr_at_10: needs measures=tutorial"),
    ("report.delta=-1", "report.delta=-1"),
    ("report.level=95", "report.level=95"),
    ("report.budget.ram=5", "report.budget.ram=5: there is no such key; known keys: latency_p95_ms"),
    ("--depth=5", "--depth=5: settings are written without dashes: depth=5"),
    ("--foo", "--foo: there is no such argument"),
    ("--cfg everything", "invalid choice: 'everything'"),
    ("--config-dir /not/there", "--config-dir /not/there: does not exist"),
    ("--config-dir", "expected one argument"),
    ("-m depth=interval(1,5)", "intervals need a sweeper that chooses from them"),
    ("-m depth=5,x", "depth=x: give a whole number"),
    ("-m depth=10,500", "depth=500: more than the candidates=100 kept"),
    ("-m reranker=none,minilm depth=500,20", "depth=500: more than the candidates=100 kept"),
    ("-m first_stage=bm25,dense,run first_stage.path={root}/data/run.trec", "/run.trec: fits first_stage=run and not bm25, dense; run a sweep for each, then compare them with rerankbench-report SWEEP_A SWEEP_B"),  # noqa: E501
    ("-m first_stage=bm25,dense,run +first_stage.path={root}/data/run.trec", "/run.trec: fits first_stage=run and not bm25, dense; run a sweep for each"),  # noqa: E501
    ("-m reranker=none,nine", "reranker=nine: there is no such option"),
    ("-m reranker=none,minilm reranker.cutoff_layers=[8]", "reranker.cutoff_layers=[8]: there is no such key"),  # noqa: E501
    ("-m hydra/sweeper=grid", "hydra/sweeper=grid: there is no such option; choose one of basic"),
    ("experiment=tutorial depth=five", "depth=five: give a whole number"),
    ("minilm", "minilm: this is no setting; did you mean embedder=minilm or reranker=minilm?"),
    ("help", "help: rerankbench --help shows what there is"),
    ("dataset=files dataset.corpus= dataset.queries={root}/data/queries.jsonl dataset.qrels={root}/data/qrels/test.tsv", "dataset.corpus= is empty: give the path of a file, dataset.corpus=FILE"),  # noqa: E501
    ("first_stage=run first_stage.path=", "first_stage.path= is empty: give the path of a file"),
    ("dataset=beir dataset.path=", "dataset.path= is empty: give the folder of the collection"),
    ("dataset=beir dataset.path={root}/no-config", "/no-config: it holds none of corpus.jsonl, queries.jsonl and qrels/"),  # noqa: E501
    ("cache_dir=/proc/nope", "cache_dir=/proc/nope: cannot be made, since /proc takes no folders of yours"),
    ("hydra.run.dir=/proc/nope", "hydra.run.dir=/proc/nope: cannot be written, since /proc is"),
    ("first_stage=hybrid first_stage.dense_weight=0.3", "first_stage.dense_weight=0.3: counts only with first_stage.fusion=weighted"),  # noqa: E501
    ("reranker.window_overlap=64", "reranker.window_overlap=64: counts only with reranker.long_documents=max_passage"),  # noqa: E501
    ("-m reranker.window_overlap=32,64", "reranker.window_overlap=32: counts only with reranker.long_documents"),  # noqa: E501
    ("=5", "=5: nothing cannot be the name of a setting"),
]  # fmt: skip
SEVERAL = [  # commands with more than one mistake in them
    "reranker.model={root}/no-config",
    "dataset=files",
    "dataset=files dataset.corpus={root}/empty.tsv dataset.queries=/q dataset.qrels=/r",
    "-m reranker=none,minilm reranker.cutoff_layers=[8]",
    "-m reranker.window_overlap=32,64",
]
WORDY = [  # arguments that hold spaces
    (["depth 5"], "depth 5: this is no setting; write KEY=VALUE"),
    (["depth = 5"], "cannot be the name of a setting; write KEY=VALUE without spaces"),
]


def jobs(arguments: list[str]) -> int:
    """How many jobs a good command stands for."""
    found = preflight.check(arguments)
    assert found is not None
    return found.jobs


def problems(arguments: list[str]) -> list[str]:
    with pytest.raises(UserError) as caught:
        preflight.check(arguments)
    return caught.value.problems


@pytest.mark.parametrize(("command", "said"), FAULTS, ids=[command for command, _ in FAULTS])
def test_every_fault_is_named_with_its_value_and_a_cure(command: str, said: str, here: Path) -> None:
    root = str(here.parent)
    found = problems(command.replace("{root}", root).split())
    assert any(said.replace("{root}", root) in line for line in found), found
    assert len(found) == 1 or command in SEVERAL, found
    assert all("\n" not in line and len(line) < 420 for line in found), found


@pytest.mark.parametrize(("arguments", "said"), WORDY)
def test_faults_in_words_with_spaces(arguments: list[str], said: str) -> None:
    (line,) = problems(arguments)
    assert said in line


def test_a_plugin_that_is_missing_is_named_with_how_to_install_it() -> None:
    line = complaints.unknown_option("hydra/launcher", "submitit_slurm", ["basic"])
    assert "install it with: pip install hydra-submitit-launcher" in line


def test_a_sweeper_looks_for_the_best_arm() -> None:
    """Optuna's own option looks for the smallest value unless it is told otherwise."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    command = ["-m", "hydra/sweeper=optuna", "depth=choice(1,2)"]
    assert preflight.parse(command).overrides[-1] == "hydra.sweeper.direction=maximize"
    assert jobs(command) == 1
    with pytest.raises(UserError, match=r"hydra\.sweeper\.direction=minimize: looks for the worst arm"):
        preflight.check([*command, "hydra.sweeper.direction=minimize"])
    assert preflight.parse(["-m", "depth=1,2"]).overrides == ["depth=1,2"]


def test_there_are_enough_faults() -> None:
    assert len({command for command, _ in FAULTS}) >= 60


def test_all_mistakes_of_one_command_are_named_at_once() -> None:
    command = "depth=5 reranker=nine cutoffs=x reranker.foo=1 +bar=2 dataset=beir dataset.path=/nope batch_size=0 =3"  # noqa: E501
    assert [line.split(":")[0] for line in problems(command.split())] == [
        "=3", "reranker=nine", "cutoffs=x", "reranker.foo=1", "bar=2", "dataset.path=/nope",
    ] or len(problems(command.split())) >= 6  # fmt: skip


def test_a_dependent_key_is_no_fault_when_its_option_is_chosen_too(here: Path) -> None:
    command = [
        "dataset.path=" + str(here),
        "dataset=beir",
        "reranker.compress_ratio=2",
        "reranker=lightweight",
    ]
    assert jobs(command) == 1


@pytest.mark.parametrize(
    ("cutoffs", "measure"),
    [("[1,10,100]", 10), ("[5]", 5), ("[1,5,20]", 5), ("[20,50]", 20), ("[3,1]", 3)],
)
def test_arms_are_compared_by_a_measure_that_the_runs_have(cutoffs: str, measure: int) -> None:
    """Who gives other cutoffs has never chosen ndcg_at_10: the report takes the cutoff nearest to it."""
    assert preflight.check(["-m", "reranker=none,minilm", f"cutoffs={cutoffs}"])
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", [f"cutoffs={cutoffs}"])
    assert config.read(composed).report.measure == composed.report.measure == f"ndcg_at_{measure}"


def test_an_embedder_that_nobody_asks_cannot_be_wrong() -> None:
    assert preflight.check(["first_stage=bm25", "embedder.pooling=max", "index.factory=Nope"])
    assert problems(["first_stage=hybrid", "embedder.pooling=max"])


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("reranker=none", 1),
        ("-m reranker=none,minilm depth=10,20", 4),
        ("-m reranker=glob(min*) depth=range(5,8)", 6),
        ("-m reranker=glob(*,exclude=[m*,g*])", 5),
        ("-m depth=choice(5,6)", 2),
        ("-m", 1),
        ("-m first_stage=hybrid first_stage.fusion=rrf,weighted first_stage.dense_weight=0.3", 2),
        ("experiment=tutorial", 6),
        ("experiment=tutorial reranker=base,large", 2),
        ("experiment=tutorial reranker=base", 1),
        ("experiment=reranker-sizes depth=5,10", 14),
        ("experiment=reranker-sizes hydra.mode=RUN", 1),
    ],
)
def test_the_jobs_of_a_command(command: str, number: int) -> None:
    assert jobs(command.split()) == number


def test_a_model_that_cannot_be_read_stops_only_its_own_jobs() -> None:
    assert preflight.check(["-m", "reranker.model=/not/there,wheel:ms-marco-MiniLM-L-12-v2"])
    assert len(problems(["-m", "reranker.model=/not/there,/nor/there"])) == 2


def test_sixty_jobs_are_checked_in_seconds() -> None:
    started = time.process_time()
    assert jobs(["-m", "depth=range(1,11)", "reranker=none,minilm,base", "first_stage=dense,bm25"]) == 60
    assert time.process_time() - started < 8  # 2 s on an idle machine


def test_checking_loads_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    script = (
        "import sys; from hydra.core.plugins import Plugins\n"
        "Plugins.instance(); before = set(sys.modules)\n"  # installed launchers may bring torch themselves
        "from rerankbench.runner import main\n"
        "code = main(['depth=abc', 'precision=fp16', 'reranker=nine', '-m'])\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'datasets', 'FlagEmbedding', 'scipy', 'matplotlib'}\n"
        "print(code, sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "2 []"
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) in (2, 3)  # fp16 is possible where there is a GPU
    assert list(tmp_path.iterdir()) == []
