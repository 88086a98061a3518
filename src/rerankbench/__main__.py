"""The command: `rerankbench [overrides]`, with `-m` for sweeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--help"], ["-h"]):  # without what runs need, which takes several times as long to import
        from rerankbench.commands import usage

        return usage.main(words)
    from rerankbench.commands import run

    return run.main(words)


if __name__ == "__main__":
    sys.exit(main())
