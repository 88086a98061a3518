# ruff: noqa: E501 -- tables
"""Config files that stand for more than they hold are refused before anything is built of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.commands import usage
from rerankbench.commands.hydra import config_files, interpolations, preflight

NINE = "".join(
    f"x{after}: &{after} [{', '.join(['*' + before] * 9)}]\n"
    for before, after in zip("abcde", "bcdef", strict=True)
)
BOMBS = {
    "nine to the sixth": ("x: &a [1,2,3,4,5,6,7,8,9]\n" + NINE, "more than 100,000 values"),
    "merged keys": ("x: &a {" + ", ".join(f"k{n}: 1" for n in range(400)) + "}\n"
                    + "".join(f"y{n}: {{<<: *a}}\n" for n in range(400)), "more than 100,000 values"),
    "brackets": ("x: " + "[" * 200_000, "nested deeper than 50 levels"),
    "braces": ("x: " + "{a: " * 51 + "1" + "}" * 51, "nested deeper than 50 levels"),
    "itself": ("x: &a [*a]", r"\*a stands in what it names"),
    "itself as a key": ("x: &a {y: {z: *a}}", r"\*a stands in what it names"),
    "a file without end": ("x: " + "y" * 1_000_001, "at most 1,000,000 are allowed"),
    "many values": ("x: [" + "1," * 120_000 + "]", "more than 100,000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_what_a_file_comes_to_is_added_up_first(name: str, tmp_path: Path) -> None:
    text, said = BOMBS[name]
    (tmp_path / "x.yaml").write_text(text)
    started = time.monotonic()
    with pytest.raises(UserError, match=said):
        config_files.refuse(tmp_path / "x.yaml")
    assert time.monotonic() - started < 5


def test_anchors_may_be_used() -> None:
    assert config_files.bomb("x: &a {y: 1}\nz: {<<: *a, w: *a}\nv: &a [2]\nu: [*a, *a]\n") == ""


trees = st.recursive(st.integers() | st.text("ab", max_size=3), lambda inner: st.lists(inner, max_size=3)
                     | st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=3), max_leaves=10)  # fmt: skip


@given(trees, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_sizes_are_those_of_what_yaml_builds(tree: Any, times: int) -> None:
    """Against a count of what a loader makes of the same text, aliases put in."""

    def size(node: Any) -> int:
        inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        return 1 + sum(size(child) + isinstance(node, dict) for _, child in inside)

    text = yaml.safe_dump([tree] * times)
    whole = size(yaml.safe_load(text))
    for most, fits in ((whole, True), (whole - 1, False)):
        before, config_files.MOST_VALUES = config_files.MOST_VALUES, most
        try:
            assert (config_files.bomb(text) == "") is fits
        finally:
            config_files.MOST_VALUES = before


DOUBLED = {f"k{n}": f"${{k{n + 1}}}${{k{n + 1}}}" for n in range(40)} | {"k40": "x"}
LISTS: dict[str, Any] = {f"k{n}": [f"${{k{n + 1}}}"] * 9 for n in range(6)} | {"k6": "x"}


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (DOUBLED, "more than 1,000,000 characters"),
        (LISTS, "more than 1,000,000 characters"),
        ({"a": "${a}"}, "a=${a}: it refers to itself"),
        ({"a": "${b}", "b": "${a}"}, "it refers to itself"),
        ({"a": {"b": "${a}"}}, "it refers to itself"),
        ({"a": {"b": "${.b}"}}, "it refers to itself"),
        ({"a": {"b": "${..a}"}}, "it refers to itself"),
        ({"a": "${oc.select:a}"}, "it refers to itself"),
        ({"a": "${oc.decode:'${a}'}"}, "it refers to itself"),
        ({"a": ["${a[0]}"]}, "it refers to itself"),
        ({"a": {"b": "${a.c}", "c": "x${a.d}", "d": 1}}, ""),
        ({"a": [f"${{a[{n + 1}]}}" for n in range(20)]}, ""),
        ({"a": [f"${{a[{n + 1}]}}" for n in range(20_000)]}, "further than anybody follows"),
        (dict.fromkeys(map(str, range(50_000)), "${49999}") | {"49999": "x"}, ""),
        ({"a": "${oc.env:a}"}, ""),
        ({"a": "${oc.env:HOME}/x", "b": "${a}", "c": "${a}"}, ""),
    ],
)
def test_references_are_added_up_first(tree: dict[str, Any], said: str) -> None:
    started = time.monotonic()
    found = interpolations.problems(tree)
    assert (said in found[0]) if said else not found, found
    assert time.monotonic() - started < 5


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(
    ["x", "${a}", "${b}", "${c}", "${d}", "${a}${b}", "y${c}z${d}"]), min_size=1))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_what_passes_is_resolved_to_no_more_than_was_added_up(tree: dict[str, str]) -> None:
    if interpolations.problems(tree):
        return
    made = OmegaConf.create(tree)
    for key in tree:
        try:
            text = str(made[key])
        except Exception as error:
            assert "not found" in str(error)  # noqa: PT017 -- a reference that leads nowhere
            continue
        assert len(text) <= interpolations.Sizes(tree).of((), tree)


def test_options_that_include_each_other_are_counted(tmp_path: Path) -> None:
    group = tmp_path / "experiment"
    group.mkdir()
    for number in range(20):
        after = f"/experiment/e{number + 1}"
        (group / f"e{number}.yaml").write_text(f"defaults: [{after}@a, {after}@b]\n")
    (group / "e20.yaml").write_text("x: 1\n")
    with pytest.raises(UserError, match="the options include each other more than 1,000 times"):
        preflight.check(["--config-dir", str(tmp_path), "experiment=e0"])


def test_a_pipe_is_no_config_and_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "reranker").mkdir()
    os.mkfifo(tmp_path / "reranker" / "theirs.yaml")
    with pytest.raises(UserError, match="theirs"):
        preflight.check(["--config-dir", str(tmp_path), "reranker=theirs"])
    with pytest.raises(UserError, match="it is a pipe, not a file"):
        usage.text([tmp_path, conf_folder()])
