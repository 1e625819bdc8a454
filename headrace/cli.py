"""The `headrace` command: what a person types, and how each verb ends."""

import signal
import sys
from typing import Annotated

import typer

from headrace.errors import Exit, HeadraceError
from headrace.verbs import register

# Each verb imports what it needs, so that `--help` is quick.

HELP = """Kafka to Spark to Parquet under Airflow, where green means that every record is accounted for.

Exit codes: 0 green, 1 red, 2 usage, 3 surroundings (broker down, port taken, disk full), 130 interrupted.
"""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)


@app.command()
def up() -> None:
    """Start Kafka and Airflow on this machine, and wait until they are ready."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.embedded import stack
    from headrace.local.status import show

    settings, say = current.settings(), Say()
    stack.up(settings, say)
    show(settings, say)


@app.command()
def down() -> None:
    """Stop all of it, and only it; what is on disk stays."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.embedded import stack

    stack.down(current.settings(), Say())


@app.command()
def status() -> None:
    """Show the services, their ports and where to log in. Exit 3 unless all of them are ready."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.status import show

    if not show(current.settings(), Say()):
        raise typer.Exit(Exit.SURROUNDINGS)


@app.command()
def demo(pipeline: Annotated[str, typer.Argument(help="Name of a pipeline with a [demo] section.")] = "important_messages") -> None:
    """Start the stack, run a pipeline in it, follow the run, and print the report. Exit 0 only if the report is green."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.client.demo import require_pipeline, run
    from headrace.local.embedded import stack

    settings, say = current.settings(), Say()
    require_pipeline(settings, pipeline)
    stack.up(settings, say)
    if not run(settings, pipeline, say):
        raise typer.Exit(Exit.RED)


@app.command()
def doctor(compose: Annotated[bool, typer.Option("--compose", help="Look at the stack in containers instead.")] = False) -> None:
    """Check everything that the stack needs; one line each, with the way out. Exit 3 if something is amiss."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.doctor import examine, examine_compose
    from headrace.settings import Settings

    # The embedded stack that runs has other ports than the containers.
    if not (examine_compose(Settings.from_environment(), Say()) if compose else examine(current.settings(), Say())):
        raise typer.Exit(Exit.SURROUNDINGS)


register(app)


def main() -> None:
    """Run the command; every known failure is one message on standard error and an exit code."""
    if sys.platform == "win32":
        _end(
            "Headrace needs Linux or macOS. On Windows, run it in WSL (wsl --install); with Docker Desktop, `make compose-up` works there, too.",
            Exit.SURROUNDINGS,
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


if __name__ == "__main__":
    main()
