"""The problems of a sweep's jobs as those of one command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import Override

from rerankbench.basics.errors import Problem

# A model or data that cannot be read stops its own jobs and no others; and a setting may do nothing in some
# of the jobs.
SPARED = ("place", "idle")


@dataclass(frozen=True)
class JobProblems:
    """What of the problems of all jobs stops a command, each once and with the jobs that have it.

    `found`: the problems of each of the `jobs`; `swept`: the keys that the jobs do not share.
    """

    jobs: Sequence[Sequence[Override]]
    found: Sequence[Sequence[Problem]]
    swept: frozenset[str]

    def stopping(self) -> list[Problem]:
        own = dict.fromkeys(problem for problems in self.found for problem in problems)
        stopping = [p for p in own if all(self.found) or p.kind not in SPARED or self.shared(p)]
        return [self.named(problem) for problem in stopping]

    def shared(self, problem: Problem) -> bool:
        return all(problem in problems for problems in self.found)

    def named(self, problem: Problem) -> Problem:
        """The problem with what the jobs that have it share."""
        if self.shared(problem):
            return problem
        jobs = [job for job, problems in zip(self.jobs, self.found, strict=True) if problem in problems]
        told = [
            [str(o.input_line) for o in job if o.key_or_group in self.swept - {problem.key}] for job in jobs
        ]
        shared = [word for word in told[0] if all(word in words for words in told)]
        jobs_with = f"job{'s with' if len(jobs) > 1 else ''}"
        return problem.saying(f"{problem} (in the {jobs_with} {' '.join(shared)})") if shared else problem
