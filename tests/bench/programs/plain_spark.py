"""A stream as Spark's guide writes it: `from_json`, a filter, Parquet. Not strict: what does not fit is null.

    spark-submit plain_spark.py SERVERS FOLDER TOPIC SCHEMA FILTER JOBS

SCHEMA is Spark's DDL. The checkpoint makes it exactly once for readers that go by `_spark_metadata`; nothing
accounts for what was dropped.
"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.bench.measure import job

servers, folder, topic, schema, wanted, jobs = sys.argv[1:]
spark = SparkSession.builder.appName("plain").config("spark.sql.session.timeZone", "UTC").getOrCreate()
for number in range(int(jobs)):
    with job(topic):
        records = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", servers)
            .option("subscribe", topic)
            .option("startingOffsets", "earliest")
            .load()
        )
        kept = (
            records.select(F.from_json(F.col("value").cast("string"), schema).alias("row"))
            .select("row.*")
            .where(wanted)
        )
        query = (
            kept.writeStream.format("parquet")
            .option("path", f"{folder}/{number}")
            .option("checkpointLocation", f"{folder}/checkpoint-{number}")
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
