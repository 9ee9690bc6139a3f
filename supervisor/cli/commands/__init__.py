"""The commands, grouped into modules by what they act on."""
