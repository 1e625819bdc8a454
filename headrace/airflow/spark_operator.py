"""The operator that submits the Spark app, and knows what its end means."""

import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException

from headrace import effort
from headrace.airflow.connections import kafka_config
from headrace.airflow.outcomes import failure, without_traceback
from headrace.contract.pipeline import Pipeline
from headrace.diagnosis import diagnose
from headrace.errors import Exit, HeadraceError
from headrace.kafka.settings_file import kafka_file
from headrace.ledger.folder import Folder
from headrace.local.embedded.layout import Layout
from headrace.progress import Progress
from headrace.settings import Settings

NOISE = "Warning: Java versions > Java 11 can only operate in restricted mode where no off-heap operations are allowed!"
"""What Spark's sketch library prints on every start, past all loggers. Nothing here uses memory off the heap,
and there is nothing to do about it."""


SUBMIT_OPTIONS = "SPARK_SUBMIT_OPTS"
"""Variable with options of the Java that spark-submit starts, which is the driver's."""


ANSWERS_WITHIN = 5.0
"""Seconds for which Kafka is asked how much waits. It only decides how Java is started."""


class QuietSparkSubmit(SparkSubmitHook):
    """Submits as the original does, and leaves `NOISE` out of the task's log.

    As long as Spark prints nothing, it says what it waits for.
    """

    def _process_spark_submit_log(self, itr: Iterator[Any]) -> None:
        with Progress("starting Spark") as progress:
            super()._process_spark_submit_log(_heard(itr, progress))


def _heard(lines: Iterator[Any], progress: Progress) -> Iterator[Any]:
    for line in lines:
        if line.strip() != NOISE:
            progress.end()
            yield line


class StreamToParquet(SparkSubmitOperator):
    """Submits the Spark app; tries again what was killed, but not what the app itself calls red."""

    def __init__(self, *, pipeline: Pipeline, **named: Any) -> None:
        super().__init__(**named)
        self.pipeline = pipeline

    def execute(self, context: Context) -> None:
        """Submit and wait. The lines that the app logged say what is wrong."""
        with without_traceback():
            config = kafka_config()
            _refresh_spark()
        before = self._last_word()
        with kafka_file(config, Settings.from_environment().home) as file, TemporaryDirectory() as place:
            said = Path(place) / "reason"
            self.application_args = [*(self.application_args or []), "--kafka", file, "--reason", str(said)]
            with _short() if self._is_short(config) else nullcontext():
                self._submit(context, said)
        if self._last_word() == before:
            raise failure(
                "spark-submit succeeded, but the app did not finish: streamed.json was not updated. The log above may say why. "
                "Retrying is safe: nothing is published twice.",
                again=True,
            )

    def _is_short(self, config: Mapping[str, str]) -> bool:
        """Whether little waits."""
        from headrace.kafka.client import Kafka
        from headrace.ledger.opening import offsets_waiting

        try:
            waiting = offsets_waiting(self._folder, self.pipeline, Kafka(config, ANSWERS_WITHIN))
        except (HeadraceError, OSError):
            return False  # the app says what is wrong
        return effort.is_short(waiting, len(self.pipeline.contract.columns))

    @property
    def _folder(self) -> Folder:
        return Folder(Settings.from_environment().data / self.pipeline.name)

    def _last_word(self) -> bytes | None:
        """What the app wrote when it last finished."""
        streamed = self._folder.streamed
        return streamed.read_bytes() if streamed.exists() else None

    def _submit(self, context: Context, said: Path) -> None:
        try:
            super().execute(context)
        except AirflowException as error:
            found = re.search(r"Error code is: (-?\d+)", str(error))
            code = int(found[1]) if found else None
            # A driver elsewhere in a cluster writes its reason there.
            reason = said.read_text(errors="replace").strip() if said.exists() else None
            if code in {Exit.RED_STREAM, Exit.USAGE}:
                raise failure(
                    reason or "The stream is red; its log says why and what to do.", again=False
                ) from None
            if code in {-signal.SIGKILL, 128 + signal.SIGKILL}:
                ended = "The stream was killed: by hand, or by the system, as it does when memory runs out."
            else:
                ended = (
                    reason
                    or diagnose(str(error))
                    or f"The stream ended with exit code {'?' if code is None else code}; its log above says more."
                )
            raise failure(f"{ended} Retrying is safe: nothing is published twice.", again=True) from None

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        # The original is made of two dozen arguments, all of them as they should be.
        hook.__class__ = QuietSparkSubmit
        return hook


@contextmanager
def _short() -> Iterator[None]:
    """Let Java compile little. Options of the user's own come later, and win."""
    given = os.environ.get(SUBMIT_OPTIONS)
    os.environ[SUBMIT_OPTIONS] = f"{effort.COMPILE_LITTLE} {given or ''}".strip()
    try:
        yield
    finally:
        if given is None:
            del os.environ[SUBMIT_OPTIONS]
        else:
            os.environ[SUBMIT_OPTIONS] = given


def _refresh_spark() -> None:
    """On the embedded stack, let what the user has changed in `spark_apps/conf` since its start count.

    Elsewhere Spark reads that, or its own.
    """
    conf = Layout.of(Settings.from_environment()).spark_conf
    if os.environ.get("SPARK_CONF_DIR") == str(conf):
        from headrace.local.embedded import spark

        spark.refresh(conf)
