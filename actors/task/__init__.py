"""How a task is declared, its options, and the handle on one that was started."""
