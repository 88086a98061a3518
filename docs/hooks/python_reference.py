"""Adds the page of the Python interface to the site: what `rerankbench` exports, by its docstrings."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import rerankbench

HEAD = """# Python

What the command line does with one collection, as functions on plain objects and numpy arrays. Only the cache
is written to. Import the names below from `rerankbench`.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    names = sorted(rerankbench.__all__, key=lambda name: (name[0].isupper(), name.lower()))  # functions first
    content = HEAD + "\n\n".join(f"::: rerankbench.{name}" for name in names)
    files.append(File.generated(config, "reference/python.md", content=content))
    return files
