"""Where in a text a mistake is, for people: which line, with a caret below it, and which of several."""

SHOWN_BEFORE, SHOWN = 50, 80
"""Characters of a line that are shown before the place, and in all: they fit into one line of an alert."""


def pointed(text: str, at: int) -> str:
    """The place in words, and below it its line with a caret.

    Args:
        at: Counts characters from 0.
    """
    number, begin = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at) + 1
    line, column = text[begin:].partition("\n")[0], at - begin
    of_line = f" of line {number}" if "\n" in text.strip() else ""
    first = max(0, column - SHOWN_BEFORE)
    before, after = "…" if first else "", "…" if len(line) > first + SHOWN else ""
    shown = "".join(
        character if character.isprintable() else " " for character in line[first : first + SHOWN]
    )
    return f"(at character {column + 1}{of_line})\n    {before}{shown}{after}\n    {' ' * (len(before) + column - first)}^"


def ordinal(number: int) -> str:
    """A number as it is said: 1st, 2nd, 3rd and so on."""
    is_teen = number % 100 in {11, 12, 13}
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
