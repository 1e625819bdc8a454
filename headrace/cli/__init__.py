"""The `headrace` command: what a person types, and how each verb ends."""

import signal
import sys
from typing import Annotated

import typer

from headrace import __version__
from headrace.cli import pipelines, proof, stack, topics
from headrace.errors import Exit, HeadraceError


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


HELP = """Kafka to Spark to Parquet under Airflow, where green means that every record is accounted for.

Exit codes: 0 green, 1 red, 2 usage, 3 unavailable (broker down, port taken, disk full), 130 interrupted.
"""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """What goes before a verb."""


stack.register(app)
pipelines.register(app)
proof.register(app)
topics.register(app)


def main() -> None:
    """Run the command; every known failure is one message on standard error and an exit code."""
    if sys.platform == "win32":
        _end(
            "Headrace needs Linux or macOS. On Windows, run it in WSL (wsl --install); with Docker Desktop, `make compose-up` works there, too.",
            Exit.UNAVAILABLE,
        )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except HeadraceError as error:
        _end(str(error), error.exit_code)
    except (OSError, MemoryError) as error:
        from headrace.diagnosis import of_system

        known = of_system(error)
        if known is None:
            raise
        _end(str(known), known.exit_code)


def _end(message: str, code: Exit) -> None:
    print(message, file=sys.stderr)  # noqa: T201  this is where the program speaks
    sys.exit(code)
