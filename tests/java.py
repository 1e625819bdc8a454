"""How Java runs in tests."""

from headrace.effort import COMPILE_LITTLE

QUICK = COMPILE_LITTLE
"""Compile little, since a stream of a test is over before that would pay: a third of the CPU time goes."""

QUICK_START = {"SPARK_SUBMIT_OPTS": QUICK}
"""Environment in which Spark's drivers run so."""
