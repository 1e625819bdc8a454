"""Every error that a user can see.

A message says what happened, where (file and key, or topic, partition and offset), and what to do.

    HeadraceError
    ├── UsageError                  exit 2: something the user wrote cannot be used
    │   ├── PipelineFileError       a pipeline file, with every mistake in it
    │   └── AccessError             Kafka's access lists do not let this user do it
    ├── UnavailableError            exit 3: something around Headrace failed; retrying may help
    │   ├── BrokerError             the broker does not answer, or answers with an error
    │   ├── UnsupportedLoginError   the client that reads record batches cannot log in, the others can
    │   ├── ResourceError           memory, open files or room on a disk ran out
    │   ├── UnwritableError         a folder or file can't be written; retrying does not help
    │   ├── BusyError               another process is writing into the pipeline's folder
    │   └── OpenTransactionError    an open transaction hides records that must be published
    └── RedError                    exit 1: the run cannot be green; retrying does not help
        ├── TopicDiffersError       a topic exists and is not as the pipeline file says
        ├── DeliveryError           the broker did not acknowledge every record
        ├── RefusedError            the stream must not start: what is on disk does not fit Kafka
        ├── LedgerError             ledger and checkpoint disagree, or the account does not balance
        │   └── OutdatedError       a document that an earlier version wrote
        └── BrokenInvariantError    verify found a broken invariant
"""

import shlex
import textwrap
from enum import IntEnum, StrEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of the `headrace` command and of the Spark apps."""

    GREEN = 0
    RED = 1
    USAGE = 2
    UNAVAILABLE = 3
    RED_STREAM = 11
    """Red, as the Spark app says it: Java and spark-submit themselves end with 1, whatever is the matter."""
    INTERRUPTED = 130


class Code(StrEnum):
    """What exactly is the matter, for programs and tests: it stays the same where a sentence changes."""

    # Kafka
    KAFKA_UNREACHABLE = "kafka_unreachable"
    KAFKA_SILENT = "kafka_silent"
    KAFKA_GONE = "kafka_gone"
    """It answered before."""
    KAFKA_QUOTA = "kafka_quota"
    TOPIC_MISSING = "topic_missing"
    TOPIC_GONE = "topic_gone"
    """It was there before."""
    TOPIC_OTHER = "topic_other"
    """It is not the one that was read."""
    TOPIC_COMPACTED = "topic_compacted"
    TOPIC_DROPPED = "topic_dropped"
    """From the pipeline file."""
    PARTITION_ADDED = "partition_added"
    PARTITION_REFILLED = "partition_refilled"
    OFFSETS_LOST = "offsets_lost"
    BATCH_DAMAGED = "batch_damaged"
    """A record batch of Kafka's."""
    TRANSACTION_OPEN = "transaction_open"
    TRANSACTION_ENDED = "transaction_ended"

    # The demo producer's batches
    BATCH_GONE = "batch_gone"
    BATCH_DOUBLED = "batch_doubled"
    BATCH_UNPUBLISHED = "batch_unpublished"
    BEFORE_START = "before_start"

    # A pipeline's folder
    IDENTITY_MISSING = "identity_missing"
    CHECKPOINT_OTHER = "checkpoint_other"
    PLAN_TORN = "plan_torn"
    ROLLED_BACK = "rolled_back"
    DOCUMENT_DAMAGED = "document_damaged"
    FIELDS_CHANGED = "fields_changed"
    FILE_GONE = "file_gone"
    UNWRITTEN = "unwritten"
    DISK_FULL = "disk_full"

    # Verify and accept
    STREAM_RUNNING = "stream_running"
    RESET_MEANWHILE = "reset_meanwhile"
    CHANGED_SINCE = "changed_since"
    NEWER_RED = "newer_red"
    OTHER_SCOPE = "other_scope"
    NO_STREAM = "no_stream"
    ALL_IN_DOUBT = "all_in_doubt"
    LIST_OUTDATED = "list_outdated"

    # What the user wrote or installed
    PIPELINE_MISSING = "pipeline_missing"
    NO_DEMO = "no_demo"
    START_IN_FUTURE = "start_in_future"
    LIMIT_TOO_SHORT = "limit_too_short"
    DAG_OFF = "dag_off"
    CONNECTION_MISSING = "connection_missing"
    CONNECTION_EMPTY = "connection_empty"
    CONNECTION_UNREADABLE = "connection_unreadable"
    JAVA = "java"
    NO_DOCKER = "no_docker"
    IMAGE_OTHER = "image_other"
    SECRETS = "secrets"
    SERVICE_DOWN = "service_down"
    OTHER_VERSION = "other_version"

    def fits(self, error: "HeadraceError") -> bool:
        """Whether an error is of this code."""
        return error.code is self


class HeadraceError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user as it stands.

    Attributes:
        code: What exactly is the matter; `None` where the class says enough.
        topic: Where it is, as far as it concerns a topic; of several the first.
        partition: Of that topic.
        offset: In that partition.
    """

    exit_code: ClassVar[Exit] = Exit.RED
    retryable: ClassVar[bool] = False
    """Whether trying again may help."""

    def __init__(
        self,
        message: str = "",
        *,
        code: Code | None = None,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.topic, self.partition, self.offset = topic, partition, offset


class UsageError(HeadraceError):
    """Something the user wrote cannot be used."""

    exit_code = Exit.USAGE


class PipelineFileError(UsageError):
    """A pipeline file with mistakes; `problems` holds one line for each of them."""

    def __init__(self, path: object, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        lines = "".join(f"\n{textwrap.indent(problem, '  ')}" for problem in problems)
        super().__init__(f"{path} cannot be used:{lines}")


class AccessError(UsageError):
    """Kafka's access lists refuse this user an operation.

    Trying again does not help until the right is granted.

    Attributes:
        operation: What is not granted, in Kafka's words: Describe, Read ...
        topic: Where.
        user: Who asked; `None` where not the settings but a certificate says who that is.
    """

    def __init__(self, servers: str, operation: str, topic: str, user: str | None) -> None:
        self.operation, self.user = operation, user
        principal = shlex.quote(f"User:{user or 'NAME'}")
        super().__init__(
            f"{f'User {user}' if user else 'The user of this client'} may not {operation} topic {topic}: the access lists of Kafka at {servers} do "
            f"not grant it. Grant it: kafka-acls.sh --bootstrap-server {servers} --add --allow-principal {principal} --operation {operation} --topic {topic}",
            topic=topic,
        )


class UnavailableError(HeadraceError):
    """Something around Headrace is not as it needs to be; trying again may help."""

    exit_code = Exit.UNAVAILABLE
    retryable = True


class BrokerError(UnavailableError):
    """The broker does not answer, or answers with an error."""


class UnsupportedLoginError(UnavailableError):
    """The client that reads record batches cannot log in, though the one that reads records can."""


class ResourceError(UnavailableError):
    """Memory, open files or room on a disk ran out."""


class UnwritableError(UnavailableError):
    """A folder or file can't be written, and that does not change by itself."""

    retryable = False


class BusyError(UnavailableError):
    """Another process is writing into the pipeline's folder."""


class OpenTransactionError(UnavailableError):
    """An open transaction hides records that must be published."""


class RedError(HeadraceError):
    """The run cannot be green, and trying again does not help."""


class TopicDiffersError(RedError):
    """A topic exists and is not as the pipeline file says."""


class DeliveryError(RedError):
    """The broker did not acknowledge every record of a batch."""


class RefusedError(RedError):
    """The stream must not start: what is on disk and what is in Kafka do not fit together."""


class LedgerError(RedError):
    """Ledger and checkpoint disagree, or the account of a micro-batch does not balance."""


class OutdatedError(LedgerError):
    """A document that an earlier version of Headrace wrote, in a form that this one does not read."""


class BrokenInvariantError(RedError):
    """Verify found a broken invariant."""
