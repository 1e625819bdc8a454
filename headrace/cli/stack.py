"""The verbs about the stack. Each imports what it needs, so that `--help` is quick."""

from typing import Annotated

import typer

from headrace.cli.arguments import Json, names, show_json
from headrace.errors import Exit


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (up, down, status, doctor, demo):
        app.command(rich_help_panel="The stack")(verb)


def up() -> None:
    """Start Kafka and Airflow on this machine, and wait until they are ready."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.embedded import stack
    from headrace.local.status import show

    settings, say = current.settings(), Say()
    stack.up(settings, say)
    show(settings, say)


def down() -> None:
    """Stop all of it, and only it; what is on disk stays."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.embedded import stack

    stack.down(current.settings(), Say())


def status(json: Json = False) -> None:
    """Show the services, their ports and where to log in. Exit 3 unless all of them are ready."""
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.status import facts, show

    settings = current.settings()
    if json:
        found = facts(settings)
        show_json(found)
    if not (found.is_ready if json else show(settings, Say())):
        raise typer.Exit(Exit.UNAVAILABLE)


def demo(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help=r"Name of a pipeline with a \[demo] section.", autocompletion=names
        ),
    ] = "important_messages",
) -> None:
    """Start the stack, run a pipeline in it, follow the run, and print the report.

    Exit 0 only if the report is green.
    """
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.client.demo import require_pipeline, run
    from headrace.local.embedded import stack

    settings, say = current.settings(), Say()
    require_pipeline(settings, pipeline)
    stack.up(settings, say)
    if not run(settings, pipeline, say):
        raise typer.Exit(Exit.RED)


def doctor(
    compose: Annotated[
        bool, typer.Option("--compose", help="Look at the stack in containers instead.")
    ] = False,
    json: Json = False,
) -> None:
    """Check everything that the stack needs; one line each, with the way out.

    Exit 3 if something is amiss.
    """
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.doctor import examine, examine_compose
    from headrace.settings import Settings

    # The embedded stack that runs has other ports than the containers.
    checks = examine_compose(Settings.from_environment()) if compose else examine(current.settings())
    found, say = [], Say()
    for each in checks:
        found.append(each)
        if not json:
            word, style = ("ok ", "green") if each.is_well else ("BAD", "bold red")
            say.line(f"{word}  {each.name:<9} {each.text}", style)
    if json:
        show_json(found)
    if not all(each.is_well for each in found):
        raise typer.Exit(Exit.UNAVAILABLE)
