"""The store on disk: schema, group commit, prune. It knows tasks, not processes."""
