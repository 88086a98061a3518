# ruff: noqa: E501 -- tables
"""Options of one's own that make no config: every mistake in a file by its key, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import config, config_files, preflight

ENCODER = "defaults: [/schema/reranker/encoder@_here_, _self_]\nmodel: BAAI/x\n"
GLOBAL = "# @package _global_\n"


def problems(folder: Path, group: str, text: str) -> list[str]:
    """What is said of an option `theirs` of a group."""
    config.register_schemas()
    (folder / group).mkdir()
    (folder / group / "theirs.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        preflight.check(["--config-dir", str(folder), f"{group}=theirs", "tracking=none"])
    return [line.replace(str(folder), "own") for line in caught.value.problems]


@pytest.mark.parametrize(
    ("group", "text", "said"),
    [
        ("reranker", ENCODER + "max_lenght: 9\nyess: x\n", [
            "reranker/theirs.yaml: reranker.max_lenght=9: there is no such key; did you mean reranker.max_length?",
            "reranker/theirs.yaml: reranker.yess=x: there is no such key; known keys: parameters_m",
        ]),
        ("experiment", GLOBAL + "depth: abc\ndpeth: 5\ncutoffs: 5\nreranker: {max_lenght: 3}\nreport: {delta: x, race: 5}\n", [
            "experiment/theirs.yaml: dpeth=5: there is no such key; did you mean depth?",
            "experiment/theirs.yaml: depth=abc: give a whole number",
            "experiment/theirs.yaml: cutoffs=5: give a list, for instance [1,10]",
            "experiment/theirs.yaml: reranker.max_lenght=3: there is no such key; did you mean reranker.max_length?",
            "experiment/theirs.yaml: report.delta=x: give a number",
            "experiment/theirs.yaml: report.race=5: it must be a group of keys",
        ]),
        ("experiment", GLOBAL + "hydra: {sweep: 5}\n", [
            "experiment/theirs.yaml: Merge error: int is not a subclass of SweepDir. value: 5; see rerankbench --cfg all",
        ]),
        ("experiment", GLOBAL + "hydra: {mode: X}\n", ["experiment/theirs.yaml: hydra.mode=X: Invalid value 'X', expected one of [RUN, MULTIRUN]"]),
        ("experiment", GLOBAL + "hydra: {run: {dirr: x}}\n", ["experiment/theirs.yaml: hydra.run.dirr=...: there is no such key; did you mean hydra.run.dir?"]),
        ("experiment", "depth: 5\n", ["experiment/theirs.yaml: its first line must be `# @package _global_`"]),
        ("experiment", GLOBAL + "depth: ${\n", ["depth=${: the reference cannot be read; write ${KEY}"]),
        ("reranker", "defaults: [nine]\n", ["reranker/theirs.yaml: reranker=nine: there is no such option; did you mean none?"]),
        ("experiment", GLOBAL + "defaults: [override /rerankr: base]\n", [
            "experiment/theirs.yaml: Could not override 'rerankr'. No match in the defaults list; in defaults, write override /GROUP: OPTION",
        ]),
        ("experiment", GLOBAL + "defaults: [/reranker: base]\n", [
            "Multiple values for reranker. To override a value use 'override reranker: base'; in defaults, write override /GROUP: OPTION",
        ]),
        ("experiment", GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {depth: '1,(2'}}}\n", [
            "hydra.sweeper.params: depth=1,(2: cannot be read; write KEY=VALUE: one =, no spaces, brackets closed",
        ]),
        ("reranker", "family: none\nmodel: !mine x\n", ["own/reranker/theirs.yaml:2: could not determine a constructor for the tag '!mine'; values have no tags here"]),
    ],
)  # fmt: skip
def test_a_mistake_in_ones_own_file_is_named(group: str, text: str, said: list[str], tmp_path: Path) -> None:
    found = problems(tmp_path, group, text)
    assert len(found) == len(said), found
    for line, start in zip(found, said, strict=True):
        assert line.startswith(start), line
        assert "raised while composing" not in line


def test_the_cures_for_defaults_work(tmp_path: Path) -> None:
    config.register_schemas()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "theirs.yaml").write_text(GLOBAL + "defaults: [override /reranker: base]\n")
    read = preflight.experiment(["--config-dir", str(tmp_path), "experiment=theirs"])
    assert read.labels["reranker"] == "base"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [x\n", ":2: expected ',' or ']', but got '<stream end>'; close the brackets"),
        ("a: 1\n\tb: 2\n", ":2: found character '\\t' that cannot start any token; indent with spaces"),
        ("a: b: c\n", ":1: mapping values are not allowed here; put a value that holds a colon in quotes"),
        ("a: 1\na: 2\n", ":2: found duplicate key a; keep one of the two"),
        ("? [a]\n: 1\n", ":1: found unhashable key; a key is a plain word"),
        (
            "a: !!python/name:os.mkdir\n",
            ":1: could not determine a constructor for the tag '!!python/name:os.mkdir'",
        ),
        ("a: \0\n", ": special characters are not allowed; take them out"),
        ("a: *b\n", ":1: found undefined alias 'b'; mend the file there"),
    ],
)
def test_what_is_no_plain_yaml_is_named_by_its_line(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        OmegaConf.create(text)
    assert config_files.unreadable(caught.value).startswith(said), config_files.unreadable(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]", "holds no keys; write keys with values"),
        ("defaults: nine", "defaults=nine: write a list of options"),
        ("defaults: [{a: b, c: d}]", "defaults=[{'a': 'b', 'c': 'd'}]: write a list of options"),
        ("hydra: null", "hydra=null: it must be a group of keys"),
        ("defaults: [a, b: c]\nhydra: {}", ""),
        ("", ""),
    ],
)
def test_a_file_that_hydra_could_not_look_into_is_told(text: str, said: str) -> None:
    found = config_files.shape_problem(OmegaConf.create(text))
    assert found.startswith(said)
    assert bool(found) is bool(said)
