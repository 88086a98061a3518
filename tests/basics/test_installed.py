"""Options of other packages: found by name, imported when asked for, and reported when they are broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from commands import run
from rerankbench import api
from rerankbench.basics import installed
from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import config
from rerankbench.experiment.groups import own_kinds
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.reranker import Reranker
from scratch_packages import offer

RERANKERS = "rerankbench.rerankers"
CONSTANT = """
from dataclasses import dataclass
import numpy as np
from rerankbench.rerankers.reranker import Origin, Reranker
from rerankbench.rerankers.scorer import Scorer

@dataclass(frozen=True)
class Constant(Reranker):
    value: float = 1.0
    def origin(self, cache_dir):
        return Origin("constant", "constant")
    def load(self, origin, hardware):
        return Same(self.value)

class Same(Scorer):
    def __init__(self, value):
        self.value = value
    def score(self, queries, documents):
        return np.full((len(documents), 1), self.value, np.float32)
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, in which packages may be put; what was imported is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(installed, "LOADED", {})
    installed.offered.cache_clear()
    yield folder
    forget_configs()
    for name in [name for name in sys.modules if name.endswith("_part")]:
        del sys.modules[name]
    installed.offered.cache_clear()


def forget_configs() -> None:
    """Take what was offered out of Hydra's store, which the whole process shares."""
    repo = ConfigStore.instance().repo
    for group in installed.ENTRY_POINTS:
        for name in set(installed.names(group)) - set(own_kinds(config.GROUPS[group])):
            for above in (repo, repo.get("schema", {})):
                above.get(group, {}).pop(f"{name}.yaml", None)


def package(site: Path, name: str, code: str, **points: str) -> None:
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(code)
    offer(site, name, {RERANKERS: {option: f"{module}:{cls}" for option, cls in points.items()}})
    installed.offered.cache_clear()


def test_names_are_told_without_importing_and_one_name_imports_no_other(site: Path) -> None:
    package(site, "quiet-part", CONSTANT, quiet="Constant")
    package(site, "loud-part", "raise SystemError('imported')", loud="Thing")
    assert installed.names("reranker") == ["loud", "quiet"]
    assert {"loud", "quiet"} <= set(config.GROUPS["reranker"].kinds)
    config.register_installed(["reranker=quiet", "reranker.value=2"])
    assert "quiet" in config.options("reranker")
    assert "loud_part" not in sys.modules
    assert run("--help") == 0
    assert run("--help", "reranker") == 0
    assert "loud_part" not in sys.modules


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ValueError('no licence\\nfile')", "which cannot be imported: ValueError: no licence file"),
        ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError"),
        ("def Constant(): pass", "bad_part:Constant is not a Reranker"),
        (CONSTANT.replace("def origin", "def other"), "bad_part:Constant lacks origin"),
        (
            CONSTANT.replace("    value:", "    family = 'other'\n    value:"),
            "its class says family = 'other'",
        ),
        ("", "cannot be imported: AttributeError"),
    ],
)
def test_a_broken_package_is_one_line_that_names_it(site: Path, code: str, told: str) -> None:
    package(site, "bad-part", code, bad="Constant")
    with pytest.raises(UserError) as caught:
        config.GROUPS["reranker"].has("bad")
    assert told in str(caught.value)
    assert str(caught.value).startswith("reranker=bad: offered by the installed package bad-part")
    assert "\n" not in str(caught.value)


def test_two_packages_with_one_name_are_both_named(site: Path) -> None:
    package(site, "one-part", CONSTANT, same="Constant")
    package(site, "two-part", CONSTANT, same="Constant")
    with pytest.raises(UserError, match="package one-part, two-part, each its own; uninstall all but one"):
        config.GROUPS["reranker"].has("same")


def test_the_packages_own_options_come_first(site: Path) -> None:
    package(site, "rude-part", CONSTANT, encoder="Constant")
    assert config.GROUPS["reranker"].has("encoder")
    assert config.options("reranker")["encoder"] is Encoder
    assert "rude_part" not in sys.modules


@pytest.mark.parametrize("family", ["os:system", "quiet_part:Constant", "os", "../quiet", "[quiet]"])
def test_a_config_names_installed_options_and_nothing_else(
    site: Path, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(site, "quiet-part", CONSTANT, quiet="Constant")
    (tmp_path / "own" / "reranker").mkdir(parents=True)
    (tmp_path / "own" / "reranker" / "theirs.yaml").write_text(f"family: {family}\n")
    assert run("--config-dir", str(tmp_path / "own"), "reranker=theirs", "dry_run=true") == 2
    assert ": choose one of " in capsys.readouterr().err


def test_an_installed_reranker_is_loaded_in_python(site: Path) -> None:
    package(site, "quiet-part", CONSTANT, quiet="Constant")
    reranker = api.load_reranker("quiet", value=3.0, device="cpu")
    assert reranker.score("a", ["b", "c"]).tolist() == [[3.0], [3.0]]
    with pytest.raises(UserError, match=r"reranker\.valu"):
        api.load_reranker("quiet", valu=3.0)
    with pytest.raises(UserError, match="quiet"):
        api.load_reranker("quite")


def test_every_group_has_its_base() -> None:
    bases = {group: config.GROUPS[group].base for group in installed.ENTRY_POINTS}
    assert bases["reranker"] is Reranker
    assert bases["first_stage"] is FirstStage
