"""What all benchmarks share: cases, rounds, targets, reports."""
