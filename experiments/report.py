"""The report of finished runs, in a checkout: the same as rerankbench-report."""

import sys

from rerankbench.report.command import main

if __name__ == "__main__":
    sys.exit(main())
