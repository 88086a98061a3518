"""The runner, in a checkout: python experiments/run.py [overrides] is rerankbench [overrides]."""

import sys

from rerankbench.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
