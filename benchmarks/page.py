"""Makes docs/PERFORMANCE.md from the figures that are kept, or checks that it is what they make; measures nothing.

python benchmarks/page.py [--check]
"""

from __future__ import annotations

import sys

from suite.page import main

if __name__ == "__main__":
    sys.exit(main())
