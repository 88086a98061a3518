"""The private modules of Hydra that rerankbench cannot do without, and nothing else imports.

Hydra 1.3 has no public way to parse its own arguments (`-m`, `--cfg`, `--config-dir`); a command is checked
before Hydra acts on any. Nor does it say in public which file an option came from, or let one look at files
before they are parsed; both are needed to keep a stranger's config from doing harm. Private modules may
change with any minor version, so the last one is stated in pyproject.toml (`hydra-core<1.4`).
"""

from __future__ import annotations

from hydra._internal.config_loader_impl import ConfigLoaderImpl as ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository as CachingConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl as ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource as FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry as SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

arguments_parser = get_args_parser  # of Hydra's own arguments; settings and options come out as `overrides`


def config_loader() -> ConfigLoaderImpl:
    """What reads configs for the command that is composed now."""
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    return loader


def sweep_checked_jobs() -> None:
    """Keep Hydra's sweeper from composing every job to check it, which the launcher does again to run it.

    A command is checked before that. Sweepers that choose values as they go do as before.
    """
    for sweeper in Plugins.instance().discover(Sweeper):
        if sweeper.__name__ == "BasicSweeper":
            sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[attr-defined]
