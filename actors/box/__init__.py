"""Container tasks, the author's side: configuration, sizes and the image policy."""
