"""Known vulnerabilities of the pinned dependencies; `python tests/helpers/audit.py` is `make audit`.

pip-audit asks a service on the network, and says "no known vulnerabilities found" also where the service knew
none of the packages, as some mirrors of the package index do not. So an old package with well-known holes is
asked for, too: only a service that reports it is believed about the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[2] / "constraints.txt"
CANARY = "django==1.11"  # not among our dependencies
SERVICES = ("pypi", "osv")
SECONDS = 120  # for each service
ACCEPTED: dict[str, str] = {}  # the identity of a finding that does not concern us, and why

Found = dict[str, Any]  # one package of pip-audit's report: name, and either version and vulns or skip_reason


def ask(service: str, pins: Path) -> list[Found] | None:
    """What a service knows of each package, None where it does not answer."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--no-deps", "--disable-pip",
               "--vulnerability-service", service, "--timeout", "15", "--format", "json",
               "--progress-spinner", "off"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return list(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError):  # it ends with a trace, or with a line on stderr
        return None


def canary_sings(found: list[Found]) -> bool:
    """Whether the service knows what everybody knows."""
    return any(package["name"] == CANARY.partition("==")[0] and package.get("vulns") for package in found)


def findings(found: list[Found]) -> Iterator[str]:
    """One line for each vulnerability that was not accepted."""
    for package in found:
        for hole in package.get("vulns", []):
            if package["name"] != CANARY.partition("==")[0] and hole["id"] not in ACCEPTED:
                cure = ", ".join(hole["fix_versions"]) or "no version yet"
                yield f"{package['name']} {package['version']}: {hole['id']}, mended in {cure}"


def audit(pins: str) -> int:
    """Say what was found of the pins; 1 where they have holes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(f"{pins}\n{CANARY}\n")
        answers = (ask(service, file) for service in SERVICES)
        found = next((answer for answer in answers if answer and canary_sings(answer)), None)
    if found is None:
        print("dependencies not audited: service unreachable")
        return 0
    lines = list(findings(found))
    unknown = [package["name"] for package in found if "skip_reason" in package]
    print(f"dependencies audited: {len(found) - len(unknown) - 1}, with {len(lines)} known vulnerabilities")
    if unknown:
        print(f"not known to the service: {', '.join(unknown)}")
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(audit(PINS.read_text(encoding="utf-8")))
