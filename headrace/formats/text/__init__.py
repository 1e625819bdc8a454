"""Text: the whole value is the one column, `value`."""
