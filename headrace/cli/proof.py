"""The verbs that prove and repair. Each imports what it needs, so that `--help` is quick."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

import typer

from headrace.cli.arguments import Name, Servers, agree, kafka_config, load, user
from headrace.errors import BrokenInvariantError, Exit, UsageError
from headrace.text import plural


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (verify, accept, reset):
        app.command(rich_help_panel="Proof and repair")(verb)


def verify(
    name: Name,
    of: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="One ingest run; without it everything is checked again."),
    ] = None,
    bootstrap_servers: Servers = None,
) -> None:
    """Check all invariants again, without Airflow and without Spark. Exit 0 only if they hold."""
    from datetime import UTC, datetime

    from headrace.kafka.client import Kafka
    from headrace.local.client.console import Say
    from headrace.report import console
    from headrace.report.conclusion import conclude
    from headrace.terminal import Terminal
    from headrace.verify.result import State
    from headrace.verify.run import verify as check
    from headrace.verify.scope import everything, of_run

    pipeline, folder = load(name)
    scope = everything(folder) if of is None else of_run(folder, of)
    began = datetime.now(UTC)
    say = Say()

    def show_progress(offsets: int) -> AbstractContextManager[Callable[[int], None]]:
        say.line(f"Judging {plural(offsets, 'offset')} again, as far as Kafka still has them ...")
        return say.progress("offsets", offsets)

    is_there = folder.root.exists()  # asking about what no stream wrote leaves nothing behind
    # With its number, since two within one second are two.
    run = f"by_hand__{began:%Y-%m-%dT%H:%M:%S}__{{}}"
    found = check(
        folder,
        pipeline,
        Kafka(kafka_config(bootstrap_servers)),
        lambda: scope,
        run.format,
        show_progress,
        purpose="a verify run by hand",
        is_stored=is_there,
    )
    if not is_there:
        console.show(found, Terminal())
        raise typer.Exit(Exit.GREEN if found.state == State.GREEN else Exit.RED)
    try:
        conclude(folder, pipeline, scope, found)
    except BrokenInvariantError as error:
        console.show(found, Terminal())
        if found.state == State.GREEN:
            typer.echo(str(error))
        typer.echo(f"The whole account: {folder.report(found.run) / 'report.html'}")
        raise typer.Exit(Exit.RED) from None
    console.show(found, Terminal())


def accept(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; every report says so from then on.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    bootstrap_servers: Servers = None,
) -> None:
    """Write down what Kafka removed before it was published or verified, and go on.

    This is the way out after records aged out.
    """
    from datetime import UTC, datetime

    from headrace import accepting
    from headrace.kafka.client import Kafka

    if not reason.strip():
        raise UsageError("--reason is empty. Every later report says why this was accepted.")
    pipeline, folder = load(name)
    kafka = Kafka(kafka_config(bootstrap_servers))
    listed = accepting.unprovable(folder, pipeline, kafka)
    if not listed:
        typer.echo(
            f"Nothing to accept: nothing is lost, and all that left Kafka was proven. `headrace verify {name}` says what else is red."
        )
        return
    for line in accepting.explain(listed):
        typer.echo(line)
    agree(yes)
    run = f"accept__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    entry = accepting.accept(folder, pipeline, kafka, listed, by=user(), reason=reason.strip(), run=run)
    typer.echo(f"Accepted, as entry {entry.number} of the ledger. Go on with: headrace run {name} --wait")


def reset(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Move a pipeline's folder aside and start over: the way out after a topic or a folder was deleted."""
    from headrace import reset as resetting

    _, folder = load(name)
    place = resetting.aside(folder)
    typer.echo(resetting.explain(folder, place))
    agree(yes)
    resetting.reset(folder, place)
    typer.echo(f"Done. Start over with: headrace run {name} --wait")
