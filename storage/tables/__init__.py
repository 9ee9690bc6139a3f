"""What the rows in the store mean. Pure: nothing here opens a file."""
