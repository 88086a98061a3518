"""How the code is kept: small functions, few names at the top, one place for each library that needs care.

That imports only go down is checked by import-linter, whose layers are in pyproject.toml (`make lint`); it
takes a package for one thing with its modules, so packages hold no code of their own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "rerankbench"
MOST_LINES = 40  # of a function, its docstring included
MOST_NAMES = 12  # at the top of the package
MOST_FILES = 25  # side by side, so that a room can be looked over


def sources(*folders: str) -> list[Path]:
    found = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and lines of every function, methods and inner ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno
            yield node.name, node.end_lineno - node.lineno + 1


def imported(source: str) -> set[str]:
    """The modules that a file imports, wherever in it, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def importers(library: str, *folders: str) -> list[str]:
    """The files that import a library, or a part of it."""
    files = {file.relative_to(ROOT).as_posix(): imported(file.read_text()) for file in sources(*folders)}
    return [file for file, names in files.items() if any(f"{n}.".startswith(f"{library}.") for n in names)]


def test_what_is_looked_for_is_found() -> None:
    source = "def f():\n    import hydra._internal.x\n    async def g():\n        from mlflow import y\n"
    assert dict(functions(source)) == {"f": 4, "g": 2}
    assert imported(source) == {"hydra._internal.x", "mlflow", "mlflow.y"}


def test_no_function_has_more_than_forty_lines() -> None:
    long = [
        f"{file.relative_to(ROOT)}: {name} has {lines} lines"
        for file in sources("src", "tests", "experiments")
        for name, lines in functions(file.read_text())
        if lines > MOST_LINES
    ]
    assert not long


def test_about_a_dozen_names_are_at_the_top() -> None:
    names = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    names = {name for name in names if not name.startswith("__")} - {"conf"}  # copied into a built package
    assert 1 < len(names) <= MOST_NAMES


def test_no_room_holds_more_files_than_can_be_looked_over() -> None:
    rooms = {file.parent for file in PACKAGE.rglob("*.py")}
    full = {room.relative_to(PACKAGE).as_posix(): len(list(room.glob("*.py"))) for room in rooms}
    assert {room: files for room, files in full.items() if files > MOST_FILES} == {}


@pytest.mark.parametrize(
    "file",
    sorted(PACKAGE.glob("*/**/__init__.py")),
    ids=lambda file: file.parent.relative_to(PACKAGE).as_posix(),
)
def test_a_package_says_in_one_sentence_what_lives_there(file: Path) -> None:
    """And holds nothing else: what its modules reach through the package would run in circles."""
    package = ast.parse(file.read_text())
    said = ast.get_docstring(package) or ""
    assert len(package.body) == 1
    assert re.fullmatch(r"[^.!?].*[^\s.!?]\.", said)
    assert not re.search(r"[.!?]\s", said)


def test_hydras_private_modules_are_imported_in_one_file() -> None:
    private = "src/rerankbench/commands/hydra/hydra_private.py"
    assert importers("hydra._internal", "src", "tests", "experiments") == [private]


def test_hydra_is_known_to_commands_alone() -> None:
    assert {file.split("/")[2] for file in importers("hydra", "src")} == {"commands"}


def test_mlflow_is_known_to_one_file_and_to_the_model_that_it_loads() -> None:
    store = "src/rerankbench/experiment/tracking/mlflow_store.py"
    package = [f"src/rerankbench/serving/mlflow_{name}.py" for name in ("model", "package")]
    assert importers("mlflow", "src") == [store, *package]
