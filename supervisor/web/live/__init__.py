"""Live streams: one look at the store serves all who watch the same task or stream over HTTP."""
