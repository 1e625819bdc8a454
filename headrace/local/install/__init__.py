"""Setting up: packages, Java and jars, all pinned."""
