"""Code that all benchmarks share: cases, rounds, targets and reports."""
