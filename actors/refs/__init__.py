"""Class actors: the base class, references to actors, proxies, futures, and the letters that go to them."""
