"""Floors: lower bounds of the figures, measured with only LMDB, msgpack and sockets."""
