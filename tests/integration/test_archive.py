"""The archive of Spark's classes. That streams start from it is seen in `test_airflow.py`."""

import pytest

from headrace.local.embedded.layout import Layout
from headrace.settings import Settings


@pytest.mark.skipif(
    Settings.from_environment().java_home is not None, reason="only the pinned Java makes one"
)
def test_making_it_leaves_nothing_else(archived: Layout) -> None:
    """The stream that it was made by wrote into a folder that is gone, and published nothing."""
    assert sorted(path.name for path in archived.spark_conf.parent.iterdir()) == sorted(
        ["conf", "tmp", archived.spark_classes.name]
    )
