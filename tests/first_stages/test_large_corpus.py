"""The benchmark of large corpora: its steps run, and its arithmetic is what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks" / "large_corpus.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("large_corpus", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_step_runs_on_what_the_one_before_left(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rerankbench.collections.reading import conversion

    monkeypatch.setattr(conversion, "IN_MEMORY_BYTES", 100_000)  # so that the corpus is memory-mapped
    benchmark.write_corpus(tmp_path / "corpus.jsonl", 9000)
    found = {step: benchmark.prepare(step, tmp_path, 9000)() for step in benchmark.STEPS}
    assert len(found["conversion"]) == 9000
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    assert found["digest"] == found["conversion"].digest()
    vectors = found["embedding"]
    assert [len(block) for block in vectors.blocks] == [*[2048] * 4, 9000 - 4 * 2048]
    assert all(isinstance(block, np.memmap) for block in vectors.blocks)
    queries = benchmark.queries_near(vectors)
    _, scores = found["exact search"]
    best = np.sort(queries @ vectors.array().T, axis=1)[:, ::-1][:, : benchmark.DEPTH]
    np.testing.assert_allclose(scores, best, atol=1e-5)
    assert found["index ivf"].ntotal == 9000
    assert 0.3 < found["search ivf"] <= 1


def test_growth_is_in_proportion_to_the_largest_size(benchmark: ModuleType) -> None:
    def steps(seconds: float) -> dict[str, dict[str, float]]:
        return {step: {"seconds": seconds, "mb": 1.0, "recall": 1.0} for step in benchmark.STEPS}

    lines = benchmark.growth({10_000: steps(999.0), 100_000: steps(6.0)}, (10**7,)).splitlines()
    expected = f"{6.0 * 10**7 / 100_000 / 60:.1f}"
    assert lines[2] == f"| 10,000,000 | {' | '.join([expected] * 4)} | {10**7 * 384 * 4 / 1e9:.1f} |"
