"""One adapter for each architecture: where its modules are, and how they are put together."""
