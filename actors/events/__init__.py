"""Events: what they are, which names match which patterns, and the handlers of a program."""
