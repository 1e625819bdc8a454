"""The account of a run, for people (HTML) and programs (JSON)."""
