"""The verbs about pipelines and their runs. Each imports what it needs, so that `--help` is quick."""

from typing import Annotated

import typer

from headrace.cli.arguments import Json, Name, Servers, kafka_config, load, show_json
from headrace.errors import Exit, UnavailableError, UsageError
from headrace.settings import Settings
from headrace.text import plural

UNCONCLUDED = "This report is not final: its verify run has not ended, or the data changed during it. Run `headrace verify` again."


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("list", rich_help_panel="Pipelines")(list_pipelines)
    for verb in (new, check, run, wait, report):
        app.command(rich_help_panel="Pipelines")(verb)


def list_pipelines(json: Json = False) -> None:
    """List the pipelines: how each one's last verify run ended, and what waited then."""
    from datetime import UTC, datetime

    from rich.table import Table

    from headrace import overview
    from headrace.local.client import current
    from headrace.terminal import Terminal
    from headrace.text import lasting, number

    settings = current.settings()
    found = list(overview.rows(settings.dags, settings.data))
    if json:
        show_json(found)
        return
    table = Table("pipeline", "runs", "state", "last verify", "waits", box=None, padding=(0, 2, 0, 0))
    for row in found:
        age = (
            f", {lasting((datetime.now(UTC) - row.checked_at).total_seconds())} ago" if row.checked_at else ""
        )
        waits = "" if row.waiting is None else number(row.waiting)
        table.add_row(row.name, row.schedule or "by hand", row.state, f"{row.outcome or ''}{age}", waits)
    terminal = Terminal()
    terminal.print(table)
    for row in found:
        if row.problem:
            terminal.out(f"{row.name}: {row.problem}", highlight=False)
    if not found:
        terminal.out(
            f"There is no pipeline in {settings.dags}. `headrace new NAME` writes one.", highlight=False
        )


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the new pipeline: small letters, digits and _.")
    ],
) -> None:
    """Write the two files of a new pipeline, ready to run."""
    from headrace.local.client import current
    from headrace.scaffold import write_pipeline

    for path in write_pipeline(current.settings().dags, name):
        typer.echo(f"wrote {path}")
    typer.echo(f"Edit the first one, then: headrace run {name} --wait")


def check(name: Name, bootstrap_servers: Servers = None, json: Json = False) -> None:
    """Validate a pipeline file: list every mistake, or show what it does and whether a stream could start.

    Changes nothing.
    """
    from headrace.kafka.admin import wider
    from headrace.kafka.client import Kafka
    from headrace.ledger.opening import check_can_start
    from headrace.preflight import check_against_ledger, check_file, check_room

    pipeline, folder = load(name)
    check_file(pipeline)
    check_against_ledger(pipeline, folder)
    check_room(folder.root)
    facts = {
        "reads": ", ".join(
            f"{each.name} ({plural(each.partitions, 'partition')})" for each in pipeline.topics
        ),
        "decodes": pipeline.contract.described,
        "keeps": pipeline.filter.text,
        "runs": f"{pipeline.schedule} (UTC)" if pipeline.schedule else "by hand",
        **({"limits": str(pipeline.limits)} if pipeline.limits.any else {}),
        "writes to": str(folder.root),
    }
    if not json:
        typer.echo(f"{pipeline.name}: {pipeline.description}")
        for what, fact in facts.items():
            typer.echo(f"  {what:<9} {fact}")
    not_checked: str | None = None
    missing: list[str] = []
    warnings: list[str] = []
    try:
        kafka = Kafka(kafka_config(bootstrap_servers))
        found = kafka.describe([topic.name for topic in pipeline.topics])
        warnings += [*wider(pipeline.topics, found), *check_can_start(folder, pipeline, kafka)]
    except UnavailableError as error:
        not_checked = str(error)
    else:
        kafka.require_as_wanted(pipeline.topics, found)
        missing = [topic.name for topic in pipeline.topics if topic.name not in found]
    if json:
        show_json(
            {
                "name": pipeline.name,
                "description": pipeline.description,
                "topics": {each.name: each.partitions for each in pipeline.topics},
                "format": pipeline.contract.format,
                "fields": {name: str(kind) for name, kind in pipeline.contract.columns.items()},
                "filter": pipeline.filter.text,
                "schedule": pipeline.schedule,
                "folder": str(folder.root),
                "kafka": {
                    "is_checked": not_checked is None,
                    "why_not": not_checked,
                    "missing_topics": missing,
                },
                "warnings": warnings,
            }
        )
        return
    if not_checked:
        typer.echo(f"  Kafka     not checked: {not_checked}")
        return
    are = f"the next run creates {', '.join(missing)}" if missing else "the topics are as the file says"
    typer.echo(f"  Kafka     {are}; a stream can start")
    for warning in warnings:
        typer.echo(f"  Warning   {warning}")


def run(
    name: Name,
    records: Annotated[int | None, typer.Option(min=0, max=10_000_000, help="Size of the batch.")] = None,
    malformed: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of records made unusable on purpose.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed makes the same payloads.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run to its report; exit 0 only if that is green.")
    ] = False,
    unpause: Annotated[
        bool, typer.Option("--unpause", help="Unpause the DAGs even if they were paused by hand in Airflow.")
    ] = False,
) -> None:
    """Trigger a pipeline's ingest in the running stack."""
    from headrace.local.client import current, demo
    from headrace.local.client.console import Say

    pipeline, _ = load(name)
    settings = current.settings()
    given = {"records": records, "malformed": malformed, "seed": seed}
    conf = {key: value for key, value in given.items() if value is not None}
    if conf and pipeline.demo is None:
        raise UsageError(
            f"{pipeline.path} has no [demo] section, so a run makes no batch of its own: leave {', '.join(f'--{key}' for key in conf)} out."
        )
    _require_stack(settings)
    if not demo.run(settings, name, Say(), conf=conf, wait=wait, unpause=unpause):
        raise typer.Exit(Exit.RED)


def _require_stack(settings: Settings) -> None:
    """Raise `UnavailableError` unless a stack of this checkout runs."""
    from headrace.local import compose
    from headrace.local.embedded import stack

    if not stack.status(settings).services and not compose.is_up(settings):
        raise UnavailableError(
            f"The stack is not running; `{settings.make('up')}` starts it, or `make compose-up` the one in containers."
        )


def wait(
    name: Name,
    of: Annotated[
        str | None, typer.Argument(metavar="RUN", help="An ingest run; the newest if not given.")
    ] = None,
) -> None:
    """Follow a run that was started before to its report. Exit 0 only if that is green."""
    from headrace.local.client import current, demo
    from headrace.local.client.console import Say

    load(name)
    settings = current.settings()
    _require_stack(settings)
    if not demo.wait(settings, name, of, Say()):
        raise typer.Exit(Exit.RED)


def report(
    name: Name,
    of: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A verify run, or the ingest run that it covers; the newest if not given."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show a report that verify wrote. Exit 0 if it is green, and its run was, too."""
    from headrace.report import console
    from headrace.terminal import Terminal
    from headrace.verify.stored import PAGE, find

    _, folder = load(name)
    path, found = find(folder, of)
    page, terminal = path.with_name(PAGE), Terminal()
    if json:
        terminal.out(path.read_text(), highlight=False)
    else:
        console.show(found, terminal)
        terminal.out(f"The whole account: {page}" if page.exists() else UNCONCLUDED, highlight=False)
    if not (page.exists() and found.is_green):
        raise typer.Exit(Exit.RED)
