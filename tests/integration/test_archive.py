"""The archive of Spark's classes. That streams start from it is seen in `test_airflow.py`."""

from headrace.local.layout import Layout


def test_making_it_leaves_nothing_else(archived: Layout) -> None:
    """The stream that it was made by wrote into a folder that is gone, and published nothing."""
    assert sorted(path.name for path in archived.spark_conf.parent.iterdir()) == sorted(["conf", archived.spark_classes.name])
