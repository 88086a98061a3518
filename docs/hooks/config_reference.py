"""Adds the page of every config key to the site, made from the schemas and the comments in the YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from rerankbench.basics.conf_folder import conf_folder
from rerankbench.commands import key_help, usage
from rerankbench.commands.hydra import config

HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper")
HEAD = """# Every config key

`KEY=VALUE` on the command line sets a key; `GROUP=OPTION` chooses an option, which sets several at once.
`rerankbench --help`, `--help GROUP` and `--help GROUP=OPTION` print the same texts.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, "reference/config.md", content=page(conf_folder())))
    return files


def page(conf: Path) -> str:
    """The whole page, for the folder that holds config.yaml."""
    parts = [HEAD, *top_level(conf)]
    for group in (*config.GROUPS, "experiment"):
        parts += ["", f"## {group}", "", *options_table(conf, group)]
        for kind, keys in key_help.group_keys(group, conf / group):
            title = (
                f"Keys when `{config.GROUPS[group].key}` is `{kind}`" if kind else f"Keys of every {group}"
            )
            parts += ["", f"### {title} {{: #{group}-{kind or 'keys'} }}", "", *keys_table(keys)]
    for group in HYDRA_GROUPS:
        parts += ["", f"## {group}", "", *options_table(conf, group)]
        for option, _ in usage.options([conf], group):
            parts += ["", *as_written(conf / group / f"{option}.yaml")]
    return "\n".join(parts) + "\n"


def top_level(conf: Path) -> Iterator[str]:
    types, rows = get_type_hints(config.Root), []
    for setting, comment in usage.root_keys(conf / "config.yaml"):
        key, _, default = setting.partition("=")
        rows.append((code(key), key_help.type_name(types[key]), code(default), comment))
    yield from ("## Top level", "", *table(("key", "type", "default", "meaning"), rows))


def options_table(conf: Path, group: str) -> Iterator[str]:
    """The options of a group, what each is, and the keys that it sets."""
    rows = []
    for option, comment in usage.options([conf], group):
        values = yaml.safe_load((conf / group / f"{option}.yaml").read_text(encoding="utf-8")) or {}
        sets = () if group in HYDRA_GROUPS else settings(values)  # theirs are shown below, comments included
        rows.append((code(f"{group}={option}"), comment, " ".join(map(code, sets))))
    yield from table(("option", "", "sets"), rows)


def settings(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """What an option's YAML sets, as it would be typed; interpolations are left out."""
    for key, value in values.items():
        if key == "defaults":
            yield from (f"{k[9:].strip('/')}={v}" for d in value if isinstance(d, dict) for k, v in d.items())
        elif isinstance(value, dict):
            yield from settings(value, f"{above}{key}.")
        elif "${" not in str(value):
            yield f"{above}{key}={key_help.shown(value)}"


def keys_table(keys: Iterable[key_help.Key]) -> Iterator[str]:
    rows = [
        (
            code(key.name),
            key.type,
            "needed" if key.default is key_help.NEEDED else code(key_help.shown(key.default)),
            key.meaning,
        )
        for key in keys
    ]
    yield from table(("key", "type", "default", "meaning"), rows)


def as_written(file: Path) -> Iterator[str]:
    """An option of Hydra's own groups: its keys belong to a plugin, so the file itself is shown."""
    written = file.read_text(encoding="utf-8").splitlines()
    lines = [line for line in written if not line.startswith(("#", "_target_"))]
    yield from (f"### {file.stem}", "", "```yaml", *lines, "```")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (f"| {' | '.join(cell(text) for text in row)} |" for row in rows)


def cell(text: str) -> str:
    """A text that stays in its cell: bars, angle brackets and braces mean nothing there."""
    if text.startswith("`"):
        return text
    return text.replace("|", "\\|").replace("<", "&lt;").replace("{", "&#123;")


def code(text: str) -> str:
    return f"`{text}`" if text else ""
