"""Container tasks as their author sees them: configuration, sizes and the image policy."""
