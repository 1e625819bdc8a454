"""Every error that Headrace raises on purpose.

A message says what happened, where (file and key, or topic, partition and offset), and what to do.

    HeadraceError
    ├── UsageError            exit 2: something the user wrote cannot be used
    │   ├── PipelineFileError           a pipeline file, with every mistake in it
    │   └── AccessError                 Kafka's access lists do not let this user do it
    ├── UnavailableError       exit 3: a broker, port, disk or registry is not as needed; trying again may
                               help
    │   ├── BrokerError                 the broker does not answer, or answers with an error
    │   ├── UnsupportedLoginError       the client that reads record batches cannot log in, though the others
        can
    │   ├── ResourceError               memory, open files or room on a disk ran out
    │   ├── UnwritableError             a folder or file can't be written, and that does not change by itself
    │   ├── BusyError                   another process is writing into the pipeline's folder
    │   └── OpenTransactionError                 an open transaction hides records that must be published
    └── RedError                exit 1: the run cannot be green; trying again does not help
        ├── TopicDiffersError           a topic exists and is not as the pipeline file says
        ├── DeliveryError               the broker did not acknowledge every record
        ├── RefusedError                the stream must not start: what is on disk and what is in Kafka do not
                                        fit
        ├── LedgerError                 ledger and checkpoint disagree, or the account does not balance
        │   └── OutdatedError               a document that an earlier version wrote
        └── BrokenInvariantError        verify found a broken invariant
"""

import shlex
import textwrap
from enum import IntEnum
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


class HeadraceError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user as it stands."""

    exit_code: ClassVar[Exit] = Exit.RED


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

    operation  what is not granted, in Kafka's words: Describe, Read ...
    topic      where
    user       who asked; `None` where not the settings but a certificate says who that is
    """

    def __init__(self, servers: str, operation: str, topic: str, user: str | None) -> None:
        self.operation, self.topic, self.user = operation, topic, user
        principal = shlex.quote(f"User:{user or 'NAME'}")
        super().__init__(
            f"{f'User {user}' if user else 'The user of this client'} may not {operation} topic {topic}: the access lists of Kafka at {servers} do "
            f"not grant it. Grant it: kafka-acls.sh --bootstrap-server {servers} --add --allow-principal {principal} --operation {operation} --topic {topic}"
        )


class UnavailableError(HeadraceError):
    """Something around Headrace is not as it needs to be; trying again may help."""

    exit_code = Exit.UNAVAILABLE


class BrokerError(UnavailableError):
    """The broker does not answer, or answers with an error."""


class UnsupportedLoginError(UnavailableError):
    """The client that reads record batches cannot log in, though the one that reads records can."""


class ResourceError(UnavailableError):
    """Memory, open files or room on a disk ran out."""


class UnwritableError(UnavailableError):
    """A folder or file can't be written, and that does not change by itself."""


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
