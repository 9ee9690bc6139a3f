"""What runs in the programs that use the runtime."""
