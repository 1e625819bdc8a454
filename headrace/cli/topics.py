"""The verbs about topics and the records in them. Each imports what it needs, so that `--help` is quick."""

import os
import subprocess
from typing import Annotated

import typer

from headrace.cli.arguments import Json, Name, Servers, Topic, agree, kafka_config, load, show_json
from headrace.errors import BrokerError, UsageError
from headrace.settings import ROOT
from headrace.text import plural

app = typer.Typer(no_args_is_help=True, help="List, describe, create and delete topics.")


def register(command: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (produce, watch):
        command.command(rich_help_panel="Kafka")(verb)
    command.add_typer(app, name="topics", rich_help_panel="Kafka")


@app.command("list")
def list_topics(bootstrap_servers: Servers = None, json: Json = False) -> None:
    """Name every topic."""
    from headrace.kafka.client import Kafka

    found = Kafka(kafka_config(bootstrap_servers)).topics()
    if json:
        show_json(found)
        return
    for topic in found:
        typer.echo(topic)


@app.command()
def describe(topic: Topic, bootstrap_servers: Servers = None, json: Json = False) -> None:
    """Partitions, offsets and settings of a topic."""
    from datetime import UTC, datetime

    from headrace.kafka.client import Kafka
    from headrace.kafka.transactions import open_transactions
    from headrace.text import clock

    kafka = Kafka(kafka_config(bootstrap_servers))
    facts = kafka.describe([topic]).get(topic)
    if facts is None:
        raise UsageError(f"There is no topic {topic!r}. `headrace topics list` lists the topics.")
    # The whole ends first: what arrives meanwhile would look as if a transaction hid it.
    ends, stable, earliest = kafka.end([topic], committed=False), kafka.end([topic]), kafka.earliest([topic])
    hiding = {each.place: each for each in open_transactions(kafka, stable, ends, datetime.now(UTC))}
    settings = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")
    if json:
        partitions = [
            {
                "partition": place.partition,
                "first_offset": earliest[place],
                "next_offset": end,
                "hidden_from": hiding[place].stable_offset if place in hiding else None,
            }
            for place, end in ends.items()
        ]
        show_json(
            {
                "name": topic,
                "id": facts.id,
                "partitions": partitions,
                "settings": {key: facts.config.get(key) for key in settings},
            }
        )
        return
    typer.echo(
        f"{topic}  id {facts.id}, {plural(facts.partitions, 'partition')}, replication factor {facts.replication_factor}"
    )
    for place, end in ends.items():
        typer.echo(f"  partition {place.partition}: first offset {earliest[place]}, next offset {end}")
        if one := hiding.get(place):
            since = f"since {clock(one.began_at)}" if one.began_at else "since an unknown time"
            typer.echo(
                f"    committed readers see only what lies before offset {one.stable_offset}: an open transaction ({since}) hides {plural(one.hidden, 'offset')}"
            )
            if one.is_hanging:
                typer.echo(
                    f"    it hangs: no transaction coordinator that Headrace may ask knows it. Make sure that its producer is gone, then end it with: {one.abort_command(kafka.servers)}"
                )
    for key in settings:
        typer.echo(f"  {key} = {facts.config.get(key)}")


@app.command()
def create(name: Name, bootstrap_servers: Servers = None) -> None:
    """Create the topics of a pipeline that don't exist."""
    from headrace.kafka.client import Kafka
    from headrace.ledger.opening import require_known_topics

    pipeline, folder = load(name)
    kafka = Kafka(kafka_config(bootstrap_servers))
    require_known_topics(folder, kafka)
    created = kafka.create(pipeline.topics)
    for topic in pipeline.topics:
        typer.echo(f"{topic.name}: {'created' if topic.name in created else 'is there'}")


@app.command()
def extend(
    topic: Topic,
    partitions: Annotated[int, typer.Option(min=2, max=10_000, help="How many there are to be in all.")],
    bootstrap_servers: Servers = None,
) -> None:
    """Add partitions to a topic; they can't be taken away again."""
    from headrace.kafka.client import Kafka

    Kafka(kafka_config(bootstrap_servers)).extend(topic, partitions)
    typer.echo(
        f"{topic} has {partitions} partitions. Write `partitions = {partitions}` into the files of the pipelines that read it."
    )


@app.command()
def delete(
    topic: Topic,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    bootstrap_servers: Servers = None,
) -> None:
    """Delete a topic and all of its records."""
    from headrace.kafka.client import Kafka

    kafka = Kafka(kafka_config(bootstrap_servers))
    kafka.require_topic(topic)
    try:
        ends, earliest = kafka.end([topic], committed=False), kafka.earliest([topic])
        held = plural(sum(end - earliest.get(place, end) for place, end in ends.items()), "offset")
        holds = f"{plural(len(ends), 'partition')}, {held}"
    except BrokerError:
        holds = "of unknown size: not all of its partitions answer"
    typer.echo(
        f"{topic} ({holds}) and all of its records are removed from Kafka. Pipelines that read it are refused until `headrace reset`."
    )
    agree(yes)
    kafka.delete(topic)
    typer.echo("Done.")


def produce(
    name: Name,
    every: Annotated[float, typer.Option(min=0.0, help="Seconds between two records.")] = 2.0,
    bootstrap_servers: Servers = None,
) -> None:
    """Send sample messages one after the other, until stopped."""
    from producers.continuous import produce_continuously

    pipeline, _ = load(name)
    lines = produce_continuously(pipeline, kafka_config(bootstrap_servers), every)
    typer.echo(f"One sample message every {every:g} s; Ctrl-C stops.")
    for line in lines:
        typer.echo(line)


def watch(name: Name, bootstrap_servers: Servers = None) -> None:
    """Show what a pipeline keeps, as it arrives, until stopped. Publishes nothing."""
    from headrace.kafka.client import Kafka
    from headrace.kafka.settings_file import kafka_file
    from headrace.local.client import current
    from headrace.local.client.console import Say
    from headrace.local.embedded import spark, stack
    from headrace.local.embedded.layout import Layout

    pipeline, _ = load(name)
    config = kafka_config(bootstrap_servers)
    Kafka(config).check_listeners()
    settings = current.settings()
    stack.prepare(settings, Say())
    layout = Layout.of(settings)
    app = ROOT / "spark_apps" / "console_stream.py"
    typer.echo("Starting Spark, which takes about ten seconds; Ctrl-C stops.")
    with kafka_file(config, settings.home) as file:
        command = [
            "spark-submit",
            "--master",
            "local[2]",
            str(app),
            "--pipeline",
            str(pipeline.path),
            "--kafka",
            file,
        ]
        ended = subprocess.run(
            command, env={**os.environ, **spark.environment(layout.spark_conf, layout.java_home)}, check=False
        )
    if ended.returncode:
        raise typer.Exit(ended.returncode)
