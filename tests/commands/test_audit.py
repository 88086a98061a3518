"""The audit of dependencies: findings fail it, and a service that knows nothing is not believed."""

from __future__ import annotations

from typing import Any

import pytest

import audit

CANARY = {"name": "django", "version": "1.11", "vulns": [{"id": "CVE-1", "fix_versions": ["1.11.1"]}]}
WELL = {"name": "numpy", "version": "2.4.6", "vulns": []}
ILL = {"name": "torch", "version": "2.13.0", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
UNKNOWN = {"name": "faiss-cpu", "skip_reason": "not found"}


def answer(monkeypatch: pytest.MonkeyPatch, **by_service: list[dict[str, Any]] | None) -> None:
    monkeypatch.setattr(audit, "ask", lambda service, pins: by_service.get(service))


@pytest.mark.parametrize(
    "by_service",
    [
        {},
        {"pypi": [WELL, ILL]},  # a mirror without vulnerabilities
        {"pypi": [{"name": "django", "skip_reason": "not found"}, UNKNOWN]},
    ],
)
def test_a_service_that_is_not_there_or_knows_nothing(
    by_service: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, **by_service)
    assert audit.audit("numpy==2.4.6") == 0
    assert capsys.readouterr().out == "dependencies not audited: service unreachable\n"


def test_a_finding_fails_and_says_where_it_is_mended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, osv=[WELL, ILL, UNKNOWN, CANARY])
    assert audit.audit("") == 1
    told = capsys.readouterr()
    assert told.err == "torch 2.13.0: CVE-2, mended in no version yet\n"
    assert told.out.splitlines() == [
        "dependencies audited: 2, with 1 known vulnerabilities",
        "not known to the service: faiss-cpu",
    ]
    monkeypatch.setitem(audit.ACCEPTED, "CVE-2", "not called")
    assert audit.audit("") == 0


def test_without_findings_it_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, pypi=[WELL, CANARY])
    assert audit.audit("") == 0
    assert capsys.readouterr().out == "dependencies audited: 1, with 0 known vulnerabilities\n"
