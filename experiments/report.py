"""The report of finished runs, in a checkout: the same as rerankbench-report."""

import sys

from rerankbench.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
