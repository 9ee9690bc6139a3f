"""Makes docs/PERFORMANCE.md from the stored figures, or checks that it matches them. It measures nothing.

python benchmarks/page.py [--check]
"""

from __future__ import annotations

import sys

from suite.page import main

if __name__ == "__main__":
    sys.exit(main())
