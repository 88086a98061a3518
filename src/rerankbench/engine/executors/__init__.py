"""Where the work runs: one file per kind of executor."""

from rerankbench.engine.executors.executor import Executor

__all__ = ["Executor"]
