"""Known failures of Spark and Kafka, by the words they come with: what each means and what to do."""

import errno
import re
from dataclasses import dataclass

from headrace.errors import ResourceError, UnavailableError, UnwritableError


@dataclass(frozen=True)
class Known:
    """A failure that others met before."""

    words: str
    """Regular expression for the text it comes with. Its group `ms` is how long something waited."""
    means: str
    """With the regular expression's named groups in it, `kafka` (which one) and `waited`."""

    def explain(self, text: str, kafka: str) -> str | None:
        """What the text means, or `None` if it is about something else."""
        match = re.search(self.words, text)
        if match is None:
            return None
        found = match.groupdict()
        return self.means.format(kafka=kafka, waited=f"{int(found.get('ms') or 0) / 1000:.0f} s", **found)


DRIVER_MEMORY = (
    "Spark's driver ran out of memory. Lower max_records_per_micro_batch in the pipeline file, or raise spark.driver.memory in "
    "spark_apps/conf/spark-defaults.conf."
)

KNOWN = (
    Known(
        r"NoClassDefFoundError: \S*LogKeys|Failed to find data source: kafka|NoSuchMethodError.*[Kk]afka",
        "The Kafka connector on Spark's class path is missing, or made for another Spark or Scala version; it must be Spark's own version, to "
        "the patch. `headrace doctor` compares them, `make up` puts the right jars in place.",
    ),
    Known(
        r"No module named '(?:msgspec|pyarrow)'|PACKAGE_NOT_INSTALLED|PYTHON_VERSION_MISMATCH|Cannot run program \"[^\"]*python",
        "Spark's executors can't decode JSON: each needs a Python of the driver's minor version, with pyarrow and msgspec, where spark.pyspark.python or "
        "PYSPARK_PYTHON says (docs/growing.md, A Spark cluster of yours).",
    ),
    Known(
        r"Python worker exited unexpectedly|Python worker failed to connect back",
        "A Python worker, in which Spark decodes JSON, was killed: most likely memory ran out on its machine or in its container. Give it more, or lower "
        "max_records_per_micro_batch in the pipeline file.",
    ),
    Known(
        r"Not authorized to access topics: \[(?P<topic>[^\]]*)\]",
        "{kafka} refuses: the user may not Read topic {topic}. Grant it: kafka-acls.sh … --add --allow-principal User:… --operation Read --topic {topic}",
    ),
    Known(
        r"(?:Cannot fetch record for offset \d+ in|Timeout of) (?P<ms>\d+) ?(?:milliseconds|ms expired before)",
        "{kafka} did not answer while it was read, in tries of {waited}: it is frozen or overloaded, or has stopped. `headrace status` asks it, and names its log.",
    ),
    Known(
        r"Connection to node -?\d+ \([^)]*\) could not be established|Bootstrap broker \S+ disconnected",
        "The broker is down, or it advertises an address that cannot be reached from here (advertised.listeners): clients on the host need another "
        "listener than containers do. The task preflight checks the advertised address.",
    ),
    Known(
        r"Failed to update metadata|TimeoutException.*(metadata|listTopics|node assignment)|describeTopics.*timed out",
        "{kafka} gave no metadata in time. One of four: the broker is down (`headrace status`), the topic does not exist (`headrace topics list`), the "
        "listener is the wrong one for this side (preflight says so), or the broker is still starting (try again).",
    ),
    Known(
        r"\.ivy2|ivy.*FileNotFoundException|unresolved dependency",
        "Something asked Ivy for jars at run time (`--packages`), and its cache can't be written. Headrace needs no Ivy: its jars are on the class path; "
        "take `--packages` out of the command.",
    ),
    Known(
        r"No space left on device|Disk quota exceeded",
        "The disk is full: that of the data folder, or of Spark's temporary files. Nothing half-written is published; "
        "make room and run this again.",
    ),
    Known(
        r"Terminating due to java.lang.OutOfMemoryError|[Ee]rror code is: 52\b",
        DRIVER_MEMORY,
    ),
    Known(
        r"executor \d+\b[\s\S]{0,2000}?(?:OutOfMemoryError|exited with code 52\b)",
        "A Spark executor ran out of memory. Lower max_records_per_micro_batch in the pipeline file, or raise spark.executor.memory in "
        "spark_apps/conf/spark-defaults.conf, and the worker's --memory in docker-compose.yml.",
    ),
    Known(
        r"OutOfMemoryError|GC overhead limit",
        DRIVER_MEMORY,
    ),
    Known(
        r"[Tt]imestamp\D{0,40}\d+.*overflow|overflow.*[Tt]imestamp",
        "A record's timestamp is beyond what Spark can hold: some producer gives nanoseconds for milliseconds, say. The topic should refuse such records "
        "(message.timestamp.after.max.ms); this one has to leave Kafka (retention, or delete-records) before the stream gets past it.",
    ),
    Known(
        r"OffsetOutOfRangeException|data may have been lost|Some data may have been lost|offset\(s\) .*out of range",
        "Kafka removed records while they were being read. Lengthen the topic's retention; `headrace verify` names what is missing.",
    ),
)


def diagnose(text: str, kafka: str = "Kafka") -> str | None:
    """What a failure's text means and what to do, or `None` if it is not known.

    Args:
        kafka: How to call the cluster it was about.
    """
    return next((means for known in KNOWN if (means := known.explain(text, kafka))), None)


def of_system(
    error: OSError | MemoryError, place: str = "a file in the data folder or the state folder"
) -> UnavailableError | None:
    """What the system's own error means and what to do, or `None` if it may be a fault of Headrace's.

    Args:
        place: What to call a file that the error does not name.
    """
    if isinstance(error, MemoryError):
        return ResourceError("This machine has no memory left for it. Stop something else, and run it again.")
    where = error.filename or place
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return ResourceError(
                f"The disk is full: {where} could not be written. Make room, or name folders elsewhere in HEADRACE_HOME and HEADRACE_DATA."
            )
        case errno.EMFILE | errno.ENFILE | errno.ENOMEM:
            return ResourceError(
                f"{where} can't be opened: {error.strerror}. Stop something else, or raise the limit (`ulimit -n`)."
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return UnwritableError(
                f"{where} cannot be written ({error.strerror}). Change its owner, or name a folder of yours in HEADRACE_HOME and HEADRACE_DATA."
            )
        case _:
            return None
