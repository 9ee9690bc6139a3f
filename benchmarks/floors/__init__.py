"""The least that LMDB, msgpack and sockets allow, written against those alone."""
