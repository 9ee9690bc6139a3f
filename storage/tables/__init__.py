"""The meaning of the rows in the store. Pure: nothing here opens a file."""
