"""One file per invariant: its id, word, title, unit and advice, and the code that is about it alone."""
