"""What is on disk: schema, group commit, prune. Knows tasks, not processes."""
