"""How Java runs in tests."""

QUICK = "-XX:TieredStopAtLevel=1"
"""Compile little, since a stream of a test is over before that would pay: a third of the CPU time goes."""

QUICK_START = {"SPARK_SUBMIT_OPTS": QUICK}
"""Environment in which Spark's drivers run so."""
