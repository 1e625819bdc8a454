"""Schedules."""

from datetime import UTC, datetime

import pytest
from croniter import croniter

from headrace.contract.cron import cron_problem


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/15 * * * *",
        "0 0 1 1 *",
        "0,30 8-18 * * 1-5",
        "5 4 * * sun",
        "0 0 * jan-mar MON,wed",
        "0-59/7 */2 1-31/10 * 0-6",
        "0 0 * * 7",
    ],
)
def test_takes_what_airflow_takes(schedule: str) -> None:
    """A schedule without a problem is one that Airflow's parser can run."""
    assert cron_problem(schedule) is None
    assert croniter(schedule, datetime(2026, 1, 1, tzinfo=UTC)).get_next()


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("@daily", "1 fields"),
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("60 * * * *", "its minute '60'"),
        ("* 24 * * *", "its hour '24'"),
        ("* * 0 * *", "its day '0'"),
        ("* * * 13 *", "its month '13'"),
        ("* * * * 8", "its weekday '8'"),
        ("*/0 * * * *", "its minute"),
        ("5/15 * * * *", "its minute"),
        ("30-10 * * * *", "its minute"),
        ("1,,2 * * * *", "its minute"),
        ("* * * foo *", "its month"),
        ("* * * * jan", "its weekday"),
        ("x * * * *", "its minute"),
    ],
)
def test_says_what_is_wrong(schedule: str, problem: str) -> None:
    """A problem names the field."""
    assert problem in str(cron_problem(schedule))
