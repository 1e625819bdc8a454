"""RFC 3339 as the contract takes it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contract.timestamps import microseconds
from tests.headrace.contract.hostile import TIMESTAMPS


@pytest.mark.parametrize(("text", "fits"), TIMESTAMPS)
def test_takes_rfc_3339_and_nothing_else(text: str, *, fits: bool) -> None:
    """Only moments that the contract allows are taken."""
    assert (microseconds(text) is not None) == fits


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001 - the offset is drawn beside it
    st.integers(-18 * 60, 18 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_tells_the_moment_to_the_microsecond(written: datetime, offset: timezone) -> None:
    """What `isoformat` writes is read back exactly."""
    moment = written.replace(tzinfo=offset)
    assert microseconds(moment.isoformat()) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )
