"""What several verbs take, and what they make of it."""

import getpass
import os
from typing import Annotated

import typer

from headrace.contract.pipeline import Pipeline
from headrace.errors import Exit, UsageError
from headrace.ledger.folder import Folder


def names(incomplete: str) -> list[str]:
    """For the shell's completion: the pipelines whose names begin like that."""
    from headrace.local.client import current

    known = (path.stem for path in current.settings().dags.glob("*.toml"))
    return sorted(name for name in known if name.startswith(incomplete))


NAME = typer.Argument(
    metavar="PIPELINE",
    help="Name of a pipeline: its files are dags/PIPELINE.toml and dags/PIPELINE.py.",
    autocompletion=names,
)
Name = Annotated[str, NAME]
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of a topic.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Servers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers", metavar="HOST:PORT", help="Kafka; as the DAGs reach it if not given."
    ),
]


def load(name: str) -> tuple[Pipeline, Folder]:
    """A pipeline by name and its folder. Raises `UsageError` with the names that exist."""
    from headrace.local.client import current

    settings = current.settings()
    path = settings.dags / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in settings.dags.glob("*.toml"))) or "none"
        raise UsageError(f"There is no pipeline {name!r}: {path} does not exist. There are: {known}.")
    return Pipeline.load(path), Folder(settings.data / name)


def kafka_config(servers: str | None) -> dict[str, str]:
    """How to reach Kafka: as the DAGs do, or at a given address, with a login from the environment."""
    from headrace.local import connections
    from headrace.local.client import current

    settings = current.settings()
    return (
        {**settings.kafka_config, "bootstrap.servers": servers}
        if servers
        else connections.kafka_config(settings)
    )


def user() -> str:
    """Who runs the command; a container's user may have a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def agree(yes: bool) -> None:
    """Ask before what can't be undone at once; ends the command unless the user agrees, or said so before."""
    try:
        if yes or typer.confirm("Go on?"):
            return
    except typer.Abort:  # no terminal to answer, or Ctrl-C
        typer.echo("")
    raise typer.Exit(Exit.INTERRUPTED)


def show_json(content: object) -> None:
    """Print facts for a program."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2))
