"""The command: `rerankbench [overrides]`, with `-m` for sweeps."""

from __future__ import annotations

import sys

from rerankbench.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
