"""Many processes, GPUs and machines by Ray: actors hold the model, a task is one stretch of a job.

Everything in a Ray cluster must see `cache_dir` under the same path: actors write the files that the local
executor writes, and answer with counts only. A task carries the texts of its own stretch and nothing else.
(Ray moves arguments between processes by its own, pickle-based transport; nothing of that is kept.)
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rerankbench.basics.errors import UserError
from rerankbench.engine.executors.crew import Crew, Task
from rerankbench.engine.executors.executor import Executor

if TYPE_CHECKING:
    from rerankbench.basics.progress import Progress
    from rerankbench.engine.executors.job import Job

CPUS = 4.0  # of one worker without a GPU: more of them make a small model little faster
INSTALL = "executor=ray needs Ray: pip install 'rerankbench[ray]'"


@dataclass(frozen=True)
class Ray(Executor):
    """Computes in Ray actors.

    `address`: local (start Ray here, on all CPUs and GPUs), auto (the cluster this machine belongs to) or
    host:port of a cluster's head. `workers`: a number, or auto for as many as the cluster has room for.
    `cpus_per_worker`: its CPUs and torch threads; null: up to 4 each. `gpus_per_worker`: 1, or a share such
    as 0.5; null: 1 where the device is CUDA. `task_seconds`: a task that takes longer is taken to hang.
    """

    address: str = "local"
    workers: str = "auto"
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None
    task_seconds: float | None = None

    kind: ClassVar[str] = "ray"
    elsewhere: ClassVar[bool] = True

    def problems(self) -> list[str]:
        found = [] if importlib.util.find_spec("ray") else [INSTALL]
        if self.workers != "auto" and not (self.workers.isdecimal() and int(self.workers) > 0):
            found.append(f"executor.workers={self.workers}: give auto or a number from 1")
        if self.address not in ("local", "auto") and not self.address.rpartition(":")[2].isdecimal():
            found.append(f"executor.address={self.address}: give local, auto or host:port of a Ray head")
        for name in ("cpus_per_worker", "gpus_per_worker", "task_seconds"):
            value, least = getattr(self, name), 0 if name == "gpus_per_worker" else 1
            if value is not None and not (value >= least and value < float("inf")):
                found.append(f"executor.{name}={value}: give at least {least}")
        return found

    def place(self) -> dict[str, Any]:
        return {"executor": self.kind}

    def compute(self, job: Job, progress: Progress) -> None:
        """The seconds that are counted are those of all workers together: rates are those of one."""
        stretches = job.stretches(progress)
        if not stretches:
            return
        tasks = (
            Task(partial(job.task, some), job.missing(some), f"{job.items} {some[0]} to {some[-1]}")
            for some in stretches
        )
        job.meter.extend(self.crew(job, len(stretches)).run(tasks, progress))

    def crew(self, job: Job, tasks: int) -> Crew:
        """Up to as many workers as there are tasks and room for."""
        self.connect()
        import ray

        settings, device, gpus = job.hiring(), job.device, self.gpus_per_worker
        gpus = (1.0 if device.startswith("cuda") else 0.0) if gpus is None else gpus
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = self.cpus(nodes)
        workers = min(self.count(nodes, cpus, gpus), tasks)
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_concurrency=2)(job.worker)
        threads = max(1, int(cpus)) if gpus == 0 else None
        where = "cuda:0" if gpus else device  # Ray shows each actor its own GPUs only
        return Crew(
            lambda: actor.remote(*settings, device=where, threads=threads), workers, self.task_seconds
        )

    def cpus(self, nodes: Sequence[dict[str, float]]) -> float:
        """CPUs of one worker: as asked; or an equal share for each of the asked workers; or a few."""
        if self.cpus_per_worker is not None:
            return self.cpus_per_worker
        largest = max((node.get("CPU", 0.0) for node in nodes), default=1.0)
        if self.workers == "auto":
            return max(1.0, min(CPUS, largest))
        together = sum(node.get("CPU", 0.0) for node in nodes)
        return max(1.0, min(CPUS, largest, together // int(self.workers)))

    def count(self, nodes: Sequence[dict[str, float]], cpus: float, gpus: float) -> int:
        """How many workers to start: a worker is on one machine, so each machine is counted on its own."""
        room = sum(
            int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) / gpus if gpus else np.inf))
            for node in nodes
        )
        asked = room if self.workers == "auto" else int(self.workers)
        if not 0 < asked <= room:
            total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
            raise UserError(
                f"executor.workers={self.workers}: the Ray cluster ({len(nodes)} machines, {total['CPU']:g} "
                f"CPUs, {total['GPU']:g} GPUs) has room for {room} workers of {cpus:g} CPUs and "
                f"{gpus:g} GPUs; "
                "lower executor.workers, cpus_per_worker or gpus_per_worker"
            )
        return asked

    def connect(self) -> None:
        """Join or start Ray once for this process; our way of stopping on SIGTERM stays."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if importlib.util.find_spec("ray") is None:
            raise UserError(INSTALL)
        import ray

        if ray.is_initialized():
            return
        before = signal.getsignal(signal.SIGTERM)
        options = {"include_dashboard": False} if self.address == "local" else {}
        try:
            ray.init(self.address, log_to_driver=False, logging_level=logging.WARNING, **options)
        except ConnectionError as error:
            raise UserError(
                f"executor.address={self.address}: no Ray cluster answers; start one with `ray start "
                "--head`, or use executor.address=local for this machine alone"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
