"""What records look like to the reader, without a broker."""

from typing import Any

import pytest

from headrace import kafka


class Record:
    """A record whose headers are what is given, or can't be told."""

    def __init__(self, headers: Any) -> None:
        self._headers = headers

    def headers(self) -> Any:
        """As the client tells them."""
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


@pytest.mark.parametrize(("headers", "told"), [
    (None, []),
    ([("trace", b"1"), ("empty", None)], [("trace", b"1"), ("empty", None)]),
    (UnicodeDecodeError("utf-8", b"caf\xe9", 3, 4, "invalid continuation byte"), None),
    (SystemError("returned a result with an exception set"), None),
])  # fmt: skip
def test_headers_that_the_client_can_not_tell_stop_nothing(headers: Any, told: Any) -> None:
    """Producers may write any bytes as a header's name, and the client takes only text."""
    assert kafka._headers(Record(headers)) == told  # noqa: SLF001
