"""Text keys get the text that was typed, whatever Hydra's grammar would make of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commands import results, run, store, tiny
from rerankbench.basics.errors import UserError
from rerankbench.commands import report, track, ui
from rerankbench.commands.hydra import as_typed, config, preflight, yaml_texts

# What YAML, Python or Hydra read as a number, a truth value or a list.
LIKE_VALUES = [
    "2024_06_01", "2019_06", "5617e91", "1e3", "1E3", "0x10", "0o17", "1_000", "007", "+5", "-0", ".5", "1.",
    "1.50", "inf", "nan", "NaN", "true", "True", "FALSE", "on", "yes", "off", "no", "NULL", "None", "~",
    "[a]", "[1,2]", "{a: 1}", "{a}", "(x)", "a,b", "a, b", "IVF16384,PQ64", "it's", 'say "x"', "a=b", "a = b",
    "a:b", "#1", "a b", "a#b", "$HOME", "50%", "x;y", "`x`", "é", "日本", "a\\b", "&x", "*x", "!x", "@x",
    "range(1,2)x", "2024-06-01", "12:30", "=", "==5", "?", "<a>", "|",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _schemas() -> None:
    config.register_schemas()


def name_of(*words: str) -> str | None:
    return preflight.experiment(words).dataset.name


@pytest.mark.parametrize("text", LIKE_VALUES)
def test_a_text_is_taken_as_typed(text: str) -> None:
    assert as_typed.read(as_typed.element(text)) == text
    word = as_typed.word(f"dataset.name={text}", multirun=False)
    assert as_typed.read(word.partition("=")[2]) == text


def test_a_few_of_them_through_the_whole_check() -> None:
    for text in ("2024_06_01", "5617e91", "NULL", "a,b", "it's", "[1,2]", "a=b", "(x"):
        assert name_of(f"dataset.name={text}") == text
    chosen = preflight.experiment(["reranker=base", "reranker.revision=5617e91", "tracking.experiment=1e3"])
    assert chosen.reranker.revision == "5617e91"
    assert vars(chosen.tracking)["experiment"] == "1e3"


def test_null_is_none_where_a_key_may_have_none_and_else_refused_with_a_cure_that_works() -> None:
    assert name_of("dataset.name=null") is None
    assert name_of("dataset.name='null'") == "null"
    with pytest.raises(UserError) as caught:
        preflight.check(["tracking.experiment=null"])
    (problem,) = caught.value.typed
    assert (problem.key, problem.kind) == ("tracking.experiment", "type")
    assert preflight.check([problem.cure])


def test_quotes_and_references_are_read_as_hydra_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAT", "it's, [x]")
    assert name_of("dataset.name='a,b'") == "a,b"
    assert name_of('dataset.name="a,b"') == "a,b"
    assert name_of("dataset.name=${oc.env:WHAT}") == "it's, [x]"
    assert name_of("dataset.name=x ${oc.env:NO_SUCH_VARIABLE,its} y") == "x its y"
    assert name_of("dataset.name=${tracking.experiment},2") == "rerankbench,2"


def test_texts_of_launchers_and_sweepers_are_taken_as_typed() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["-m", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=2024_06"]
    command = preflight.check([*words, "hydra.launcher.account=1e3", "hydra.launcher.nodes=2"])
    assert command is not None
    assert {f"hydra.launcher.{word}" for word in ("partition='2024_06'", "account='1e3'", "nodes=2")} <= {
        *command.words
    }


def test_keys_of_other_types_are_read_as_before() -> None:
    read = preflight.experiment(["depth=1_0", "reuse=off", "cutoffs=[1,2]", "report.delta=1e-2"])
    assert (read.depth, read.reuse, read.cutoffs, read.report.delta) == (10, False, (1, 2), 0.01)


def swept(word: str) -> list[str]:
    (override,) = as_typed._parser().parse_overrides([as_typed.word(word, multirun=True)])
    return [as_typed.read(value) for value in override.sweep_string_iterator()]


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("2019_06,2020_07", ["2019_06", "2020_07"]),
        ("1e3, 5617e91", ["1e3", "5617e91"]),
        ("'a,b',c", ["a,b", "c"]),
        ("choice(2019_06,1e3)", ["2019_06", "1e3"]),
        ("a,it's,b", ["a", "it's", "b"]),
        ("${oc.env:X,1},2", ["${oc.env:X,1}", "2"]),
        ("true,on", ["true", "on"]),
    ],
)
def test_a_sweep_over_texts_has_the_texts_that_were_typed(typed: str, values: list[str]) -> None:
    assert swept(f"dataset.name={typed}") == values


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Options and an experiment whose names look like numbers, and a preset that sweeps over texts."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "experiment").mkdir()
    preset = "hydra: {mode: MULTIRUN, sweeper: {params: {dataset.name: '2019_06,1e3'}}}"
    (folder / "experiment" / "2024_06_01.yaml").write_text(f"# @package _global_\ndepth: 7\n{preset}\n")
    return folder


def test_an_option_is_named_as_typed_and_so_are_the_texts_that_it_sweeps_over(own: Path) -> None:
    command = preflight.check(["--config-dir", str(own), "experiment=2024_06_01"])
    assert command is not None
    assert command.jobs == 2
    assert "dataset.name='2019_06','1e3'" in command.words


@pytest.mark.parametrize("typed", ["2019_06", "1e3", "5617e91", "on", "true", "0x10", "1.50"])
def test_a_text_in_ones_own_file_is_refused_where_yaml_misreads_it(typed: str, tmp_path: Path) -> None:
    file = tmp_path / "reranker" / "mine.yaml"
    file.parent.mkdir()
    head = "# Ours.\ndefaults: [/schema/reranker/encoder@_here_, _self_]\nmodel: BAAI/x\n"
    file.write_text(f"{head}revision: {typed}\nmax_length: 256\n")
    words = ["--config-dir", str(tmp_path), "reranker=mine"]
    with pytest.raises(UserError) as caught:
        preflight.check(words)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}:4: reranker.revision={typed} is read as ")
    file.write_text(file.read_text().replace(f"revision: {typed}", problem.rpartition(", ")[2]))
    assert preflight.experiment(words).reranker.revision == typed


def test_values_that_a_file_merges_into_others_are_left_to_hydra(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    text = "kind: sample\nbase: &b {name: 2019_06}\n<<: *b\n"
    (tmp_path / "dataset" / "mine.yaml").write_text(text)
    assert list(yaml_texts.misread(tmp_path / "dataset" / "mine.yaml", "dataset")) == []


def test_numbers_that_are_written_as_they_are_read_may_stand_in_ones_own_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    preset = "# @package _global_\ndepth: 1_0\ndataset:\n  name: 2019\n  title_separator: ${dataset.name}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(preset)
    read = preflight.experiment(["--config-dir", str(tmp_path), "experiment=mine"])
    assert (read.depth, read.dataset.name) == (10, "2019")


def test_a_folder_of_a_sweep_may_have_a_comma(models: Path, tmp_path: Path) -> None:
    """Hydra's own settings are never swept, so commas in their texts belong to them."""
    words = ["first_stage=bm25", "reranker=none", "tracking=none", *tiny(models, tmp_path)]
    assert run("-m", "depth=1,2", *words, f"hydra.sweep.dir={tmp_path}/a,b/sweep") == 0
    assert len(results(tmp_path / "a,b" / "sweep")) == 1


@pytest.mark.parametrize("name", ["a,b", "it's", "a b", "a=b", "[x]", "{x}", "$x", "x#1", "(x", "2019_06"])
def test_paths_are_taken_as_typed_for_reading_and_writing(name: str, models: Path, tmp_path: Path) -> None:
    words = ["first_stage=bm25", "reranker=none", "tracking=none", *tiny(models, tmp_path / name)]
    assert run(*words) == 0
    assert (tmp_path / name / "out" / "result.json").is_file()
    assert (tmp_path / name / "cache").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_file_with_a_comma_in_a_sweep_is_told_how_to_quote(models: Path, tmp_path: Path) -> None:
    run_file = tmp_path / "a,b" / "run.trec"
    run_file.parent.mkdir()
    run_file.write_text("q1 Q0 007 1 2.0 x\nq2 Q0 c 1 1.0 x\n")
    words = [*tiny(models, tmp_path), "first_stage=run", "reranker=none", "tracking=none"]
    typed = f"first_stage.path={run_file}"
    assert preflight.check([*words, typed])
    with pytest.raises(UserError) as caught:
        preflight.check(["-m", *words, typed])
    for problem, half in zip(caught.value.problems, str(run_file).split(","), strict=True):
        assert problem.startswith(f"first_stage.path={half}: there is no such file")
        cure = problem.rpartition("a text with commas needs quotes in a sweep: ")[2]
        assert cure == f"\"first_stage.path='{run_file}'\""
    assert run("-m", *words, *shlex.split(cure)) == 0
    assert len(results(tmp_path / "sweep")) == 1


def test_a_factory_runs_as_the_documentation_gives_it() -> None:
    words = ["index=pq", "index.factory=IVF16384,PQ64", "index.search=nprobe=128", "dry_run=true"]
    index = preflight.experiment(words).index
    assert (index.factory, index.search) == ("IVF16384,PQ64", "nprobe=128")
    with pytest.raises(UserError) as caught:
        preflight.check(["-m", *words])
    said, _, cure = caught.value.problems[0].partition("; a text with commas needs quotes in a sweep: ")
    assert said.endswith("(in the job index.factory=IVF16384)")
    assert cure == "\"index.factory='IVF16384,PQ64'\""
    assert preflight.check(["-m", *words[:1], *shlex.split(cure), *words[2:]])


def test_the_names_of_arms_show_texts_as_typed(models: Path, tmp_path: Path) -> None:
    words = ["-m", "first_stage=bm25", "reranker=none", "tracking=none", *tiny(models, tmp_path)]
    assert run(*words, "embedder.query_instruction=1e3,x", "first_stage=hybrid") == 0
    assert {arm.rpartition("=")[2] for arm in results(tmp_path / "sweep")} == {
        "1e3 without reranking",
        "x without reranking",
    }
    saved = json.loads((tmp_path / "sweep" / "0" / "result.json").read_text())
    assert saved["arm"].endswith("=1e3 without reranking")


@pytest.mark.parametrize(
    ("typed", "text"),
    [("2024_06_01", "2024_06_01"), ("'1e3, x'", "1e3, x"), ("it's", "it's"), ("null", None)],
)
def test_the_other_commands_read_texts_alike(typed: str, text: str | None, tmp_path: Path) -> None:
    word = f"tracking.experiment={typed}"
    store(tmp_path)
    uri = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    if text is None:
        for read in (report.read, track.read_words, ui.settings):
            with pytest.raises(UserError, match="null is not possible here"):
                read([uri, word])
        return
    assert track.read_words(["folder", word])[0] == {"experiment": text}
    assert report.read(["folder", word])[1].experiment == text
    assert ui.settings([uri, word]).experiment == text


@pytest.mark.parametrize("candidates", [1, 5, 20, 100, 1000])
def test_the_default_cutoffs_go_as_far_as_there_are_candidates(candidates: int) -> None:
    read = preflight.experiment([f"candidates={candidates}"])
    assert read.cutoffs == tuple(sorted({min(k, candidates) for k in (1, 10, 100)}))
    assert read.report.measure == f"ndcg_at_{min(10, candidates)}"


def test_a_default_overlap_of_windows_fits_a_shorter_length() -> None:
    words = ["reranker=base", "reranker.long_documents=max_passage", "reranker.max_length=100"]
    assert preflight.experiment(words).reranker.window_overlap == 25
    with pytest.raises(UserError, match="window_overlap=64: choose between 0 and a quarter"):
        preflight.check([*words, "reranker.window_overlap=64"])


def test_cutoffs_that_were_typed_are_refused_where_there_are_fewer_candidates() -> None:
    for words in (["candidates=20", "cutoffs=[1,10,100]"], ["-m", "candidates=20,100", "cutoffs=[1,10,100]"]):
        with pytest.raises(UserError, match="100 is more than the candidates=20 kept"):
            preflight.check(words)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
@example("\\")
@example("a\\'")
@example("'a")
@example("'a'b'")
@example("str(1e3)")
@example("${a}")
def test_every_text_is_read_as_typed_in_quotes(text: str) -> None:
    """Alone and between others in a sweep."""
    quoted = as_typed.quoted(text)
    assert as_typed.read(quoted) == text
    (override,) = as_typed._parser().parse_overrides([f"dataset.name=a,{quoted},b"])
    assert [as_typed.read(value) for value in override.sweep_string_iterator()] == ["a", text, "b"]
