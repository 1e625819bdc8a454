"""Failures that people meet with Kafka and Spark end with what they mean."""

import pytest

from headrace.diagnosis import diagnose


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (
            "java.lang.NoClassDefFoundError: org/apache/spark/internal/LogKeys$",
            "another Spark or Scala version",
        ),
        (
            "AnalysisException: Failed to find data source: kafka. Please deploy the application",
            "another Spark or Scala version",
        ),
        (
            "Connection to node -1 (localhost/127.0.0.1:9092) could not be established. Node may not be available.",
            "advertises an address",
        ),
        (
            "FileNotFoundException: /home/spark/.ivy2/cache/resolved.xml (No such file or directory)",
            "needs no Ivy",
        ),
        ("ModuleNotFoundError: No module named 'msgspec'", "Spark's executors can't decode JSON"),
        (
            'java.io.IOException: Cannot run program "python3": Exec failed, error: 2 (No such file or directory)',
            "Spark's executors can't decode JSON",
        ),
        (
            "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)",
            "A Python worker, in which Spark decodes JSON, was killed",
        ),
        ("KafkaTimeoutError: Failed to update metadata after 60.0 secs.", "One of four"),
        (
            "Caused by: TimeoutException: Cannot fetch record for offset 5 in 120000 milliseconds. ",
            "Kafka at k:1 did not answer while it was read, in tries of 120 s",
        ),
        (
            "Timeout of 60000ms expired before the position for partition t-0 could be determined",
            "Kafka at k:1 did not answer while it was read, in tries of 60 s",
        ),
        (
            "TopicAuthorizationException: Not authorized to access topics: [orders]",
            "may not Read topic orders. Grant it: kafka-acls.sh",
        ),
        ("java.io.IOException: No space left on device", "disk is full"),
        ("java.lang.OutOfMemoryError: Java heap space", "spark.driver.memory"),
        (
            "Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.5 executor driver): java.lang.OutOfMemoryError: Java heap space",
            "spark.driver.memory",
        ),
        (
            "Lost task 0.6 in stage 0.0 (TID 6) (10.0.0.5 executor 3): org.apache.spark.SparkException: Task failed\nCaused by: java.lang.OutOfMemoryError: Java heap",
            "spark.executor.memory",
        ),
        (
            "Lost task 0.1 (10.0.0.5 executor 3): IOException\nTerminating due to java.lang.OutOfMemoryError: Java heap space",
            "spark.driver.memory",
        ),
        (
            "Lost task 0.3 (10.0.0.5 executor 2): ExecutorLostFailure Reason: Command exited with code 52",
            "spark.executor.memory",
        ),
        ("Cannot execute: spark-submit. Error code is: 52.", "spark.driver.memory"),
    ],
)
def test_a_known_failure_is_explained(text: str, means: str) -> None:
    """Each message leads to what it means."""
    assert means in (diagnose(text, "Kafka at k:1") or "")


def test_an_unknown_failure_is_not_explained() -> None:
    """No guess is better than a wrong one."""
    assert diagnose("ValueError: something else") is None
