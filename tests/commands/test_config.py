"""Every config composes into typed settings, and every mistake is named before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins

from config_faults import CONFIG_FAULTS, SEVERAL, ConfigFault, make_folders
from fault_table import composing_once
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands import usage
from rerankbench.commands.hydra import command_line, config, preflight

CONF = conf_folder()
YAMLS = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
NEEDS = {  # what an option cannot do without; {here} is a folder with a BEIR collection
    "dataset/beir": ["dataset.path={here}"],
    "dataset/files": ["dataset.corpus={here}/corpus.jsonl", "dataset.queries={here}/queries.jsonl",
                      "dataset.qrels={here}/qrels/test.tsv"],
    "dataset/hub": ["dataset.path=mteb/scifact"],
    "dataset/ir_datasets": ["dataset.id=beir/scifact/test"],
    "dataset/one_file": ["dataset.path={here}/train.jsonl"],
    "first_stage/run": ["first_stage.path={here}/run.trec"],
    "reranker/onnx": ["reranker.model=a/b"],
    "reranker/run": ["reranker.path={here}/run.trec"],
    **{f"reranker/{server}": ["reranker.url=http://h"] for server in ("tei", "vllm", "infinity")},
    "reranker/endpoint": [
        "reranker.url=http://h", "reranker.body={{q: '{{query}}', d: '{{documents}}'}}"
    ],
    "reranker/function": ["reranker.function=mine:scores", "reranker.allow_code=true"],
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
    (folder / "train.jsonl").write_text('{"query": "a", "pos": ["b"]}\n')
    return folder


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


# The words of a few complaints; what the others are about is in config_faults.py.
SAID = [
    ("depth=abc", "depth=abc: give a whole number"),
    ("depth=101", "depth=101: more than the candidates=100 kept; raise it with candidates=101"),
    ("depth==5", "depth==5: cannot be read; write KEY=VALUE: one =, no spaces, brackets closed"),
    ("depth=${candidats}", "depth=${candidats}: Interpolation key 'candidats' not found"),
    ("depth=1,2", "depth=1,2: several values need -m for a sweep"),
    ("cutoffs=1,2", "cutoffs=1,2: several values need -m for a sweep, or brackets for a list: cutoffs=[1,2]"),
    ("depht=5", "depht=5: there is no such key; did you mean depth?"),
    ("top_k=5", "top_k=5: there is no such key; known keys: dataset, embedder"),
    ("candidates=null", "candidates=null: null is not possible here"),
    ("cutoffs=[1,1000]", "1000 is more than the candidates=100 kept; raise it with candidates=1000"),
    ("precision=fp16 device=cpu", "precision=fp16: CPUs multiply fp16 more slowly"),
    ("reranker=minilmm", "reranker=minilmm: there is no such option; did you mean minilm? rerankbench --help reranker lists all "),  # noqa: E501
    ("hydra.run.foo=1", "hydra.run.foo=1: there is no such key; known keys: dir"),
    ("reranker.max_lenght=9", "did you mean reranker.max_length? (this is reranker=minilm)"),
    ("reranker.max_length=513", "reranker.max_length=513: the model reads at most 512 tokens; give no more"),
    ("reranker.model=/not/there", "reranker.model /not/there: no such folder"),
    ("first_stage=run", "first_stage.path is needed: add first_stage.path=VALUE"),
    ("dataset=beir dataset.path=/not/there", "dataset.path=/not/there: there is no such folder"),
    ("tracking.uri=here", "tracking.uri=here: give sqlite:///path/to/mlflow.db, or http://host:port"),
    ("report.measure=ndcg_at_5", "report.measure=ndcg_at_5: 5 is not among cutoffs=[1,10,100]; give cutoffs=[1,5,10,100] or report.measure=ndcg_at_10"),  # noqa: E501
    ("--depth=5", "--depth=5: there is no such argument; settings are written without dashes, KEY=VALUE"),
    ("minilm", "minilm: this is no setting; did you mean embedder=minilm or reranker=minilm?"),
    ("cache_dir=/proc/nope", "cache_dir=/proc/nope: cannot be made, since /proc takes no folders of yours"),
    ("first_stage=hybrid first_stage.dense_weight=0.3", "first_stage.dense_weight=0.3: counts only with first_stage.fusion=weighted"),  # noqa: E501
]  # fmt: skip
WORDY = [  # arguments that hold spaces
    (["depth 5"], "depth 5: cannot be read; write KEY=VALUE"),
    (["depth = 5"], "depth = 5: cannot be read; write KEY=VALUE: one =, no spaces"),
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


def typed_problems(words: list[str]) -> list[Problem]:
    """The mistakes of a command; none where it could be run, or only shows something."""
    with composing_once():
        try:
            preflight.check(words)
        except UserError as error:
            return error.typed
    return []


@pytest.mark.parametrize("fault", CONFIG_FAULTS, ids=lambda fault: fault.command)
def test_a_fault_is_named_by_key_and_kind_and_its_cures_work(fault: ConfigFault, here: Path) -> None:
    words = fault.command.replace("{root}", str(here.parent)).split()
    found = typed_problems(words)
    about = {(problem.key, problem.kind) for problem in found}
    assert (fault.key, fault.kind) in about, found
    assert len(found) == 1 or fault.command in SEVERAL, found
    assert all("\n" not in line and len(line) < 420 for line in found), found
    assert typed_problems(fault.cured.replace("{root}", str(here.parent)).split()) == []
    for problem in found:
        if problem.cure:  # what the program offers to type instead
            wrong = [word for word in words if is_about(word, problem)]
            offered = [word for word in words if word not in wrong] + problem.cure.split()
            assert wrong
            assert not {(other.key, other.kind) for other in typed_problems(offered)} & about, problem


def is_about(word: str, problem: Problem) -> bool:
    return word == problem.setting or word.partition("=")[0].lstrip("+~").partition("@")[0] == problem.key


@pytest.mark.parametrize(("command", "said"), SAID, ids=[command for command, _ in SAID])
def test_what_is_said_names_the_value_and_a_cure(command: str, said: str, here: Path) -> None:
    root = str(here.parent)
    found = typed_problems(command.replace("{root}", root).split())
    assert any(said.replace("{root}", root) in line for line in found), found


@pytest.mark.parametrize(("arguments", "said"), WORDY)
def test_faults_in_words_with_spaces(arguments: list[str], said: str) -> None:
    (line,) = problems(arguments)
    assert said in line


def test_a_plugin_that_is_missing_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Plugins.instance().class_name_to_class
    missing = [name for name in known if "joblib" in name.lower()]
    for name in missing:
        monkeypatch.delitem(known, name)
    line = "hydra/launcher=joblib needs a plugin of Hydra: pip install 'rerankbench[launchers]'"
    assert problems(["-m", "hydra/launcher=joblib", "depth=1,2"]) == [line]


def test_a_sweeper_looks_for_the_best_arm() -> None:
    """Optuna's own option looks for the smallest value unless it is told otherwise."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    command = ["-m", "hydra/sweeper=optuna", "depth=choice(1,2)"]
    assert command_line.parse(command).overrides[-1] == "hydra.sweeper.direction=maximize"
    assert jobs(command) == 1
    with pytest.raises(UserError, match=r"hydra\.sweeper\.direction=minimize: looks for the worst arm"):
        preflight.check([*command, "hydra.sweeper.direction=minimize"])
    assert command_line.parse(["-m", "depth=1,2"]).overrides == ["depth=1,2"]


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
        ("-m reranker=glob(ms*) depth=range(5,8)", 6),
        ("-m reranker=glob(mxbai*,exclude=[*v2*])", 2),
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
        "from rerankbench.commands.run import main\n"
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
