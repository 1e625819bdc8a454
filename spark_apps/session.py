"""The apps' Spark session, with the settings that records depend on, however the app was submitted."""

from pyspark.sql import SparkSession

SETTINGS = {
    # Timestamps are UTC and microseconds, wherever the driver runs; INT96 is what Spark writes otherwise.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
    # Values that cannot be converted raise; the contract's filters are made so that none can.
    "spark.sql.ansi.enabled": "true",
    # What Spark must not show in plans and logs: its own default, and the settings of Kafka's Java client
    # that hold a login or a key.
    "spark.redaction.regex": r"(?i)secret|password|passwd|token|access[.]?key|\.jaas\.|\.keystore\.",
    # The ledger says what is complete.
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


CONSUMERS = 64
"""Kafka consumers that Spark keeps open at once, unless there are more partitions: beyond that it would open
one after the other, and warn each time."""


def spark_session(name: str, partitions: int) -> SparkSession:
    """Start Spark, or give the session that is there, with these settings.

    Args:
        partitions: How many there are to read.
    """
    builder = SparkSession.builder.appName(name)
    for key, value in {
        **SETTINGS,
        "spark.kafka.consumer.cache.capacity": str(max(CONSUMERS, partitions)),
    }.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
