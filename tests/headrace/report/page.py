"""An HTML page as a browser takes it apart."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, the text of the body, and the style."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.style = ""
        self.source = source
        self._inside = ""
        self.feed(source)
        self.close()

    @property
    def text(self) -> str:
        """What the reader reads, without line breaks."""
        return " ".join(" ".join(self.words).split())

    def tagged(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of every tag of a name."""
        return [attributes for tag, attributes in self.tags if tag == name]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Note that the style has ended."""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self._inside == "style":
            self.style += data
        else:
            self.words.append(data)
