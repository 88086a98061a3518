"""What the service did, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rerankbench.serving.line import Line

TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXTS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """One service's, apart from those of others in the process."""

    def __init__(self, line: Line) -> None:
        own = CollectorRegistry()
        self.registry = own
        self.requests = Counter(
            "rerankbench_requests", "Requests by route and status.", ["route", "status"], registry=own
        )
        self.seconds = Histogram(
            "rerankbench_request_seconds", "From arrival to answer.", ["route"], buckets=SECONDS, registry=own
        )
        self.texts = Histogram("rerankbench_texts", "Texts of a rerank request.", buckets=TEXTS, registry=own)
        waiting = Gauge("rerankbench_waiting", "Requests that are not answered yet.", registry=own)
        waiting.set_function(lambda: len(line))
        shared = Gauge(
            "rerankbench_shared", "Requests that were scored together lately, on average.", registry=own
        )
        shared.set_function(lambda: sum(line.shared) / len(line.shared) if line.shared else 0.0)

    def note(self, route: str, status: int, seconds: float) -> None:
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
