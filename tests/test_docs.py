"""What README and docs say is there: targets, verbs, links, images, environment variables."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from headrace.cli import app
from headrace.settings import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = {"sh", "shell", "bash", "console", ""}
"""Languages of fenced blocks that hold commands; those with output or files say `text`, `toml` and so on."""

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
VARIABLE = re.compile(r"\bHEADRACE_[A-Z_]+\b")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def commands(page: Path) -> Iterator[str]:
    """Every line of a shell block, without its comment, and every piece of inline code."""
    text = page.read_text()
    for language, block in FENCED.findall(text):
        if language in SHELL:
            yield from (line.split(" #")[0].strip() for line in block.splitlines())
    yield from INLINE.findall(FENCED.sub("", text))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_make_target_exists(page: Path) -> None:
    """`make X` is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for command in commands(page) for word in re.findall(r"^make ([a-z][\w-]*)", command)}
    assert named <= targets


@pages
def test_every_verb_and_option_exists(page: Path) -> None:
    """`headrace X`, and `headrace topics X`, are verbs, and their options are theirs."""
    root = typer.main.get_command(app)
    for command in commands(page):
        found = re.match(r"(?:HEADRACE_\w+=\S+ )*(?:\S*/)?headrace ([a-z].*)", command)
        if not found:
            continue
        verb, words = root, found[1].split()
        while words and hasattr(verb, "commands"):
            assert words[0] in verb.commands, command
            verb = verb.commands[words.pop(0)]
        known = {option for parameter in verb.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, command


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """Files, images, folders, and headings within pages."""
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_images_are_small() -> None:
    """A clone should not grow by pictures."""
    assert all(path.stat().st_size < 200_000 for path in (ROOT / "docs").rglob("*.png"))


def test_the_environment_is_documented() -> None:
    """Every variable that is read is in the docs, and every one that the docs name is read."""
    read = set(VARIABLE.findall((ROOT / "headrace" / "settings.py").read_text()))
    composed = set(
        re.findall(
            r"\$\{(HEADRACE_\w+_BASE_IMAGE|HEADRACE_(?:KAFKA|POSTGRES)_IMAGE|HEADRACE_SPARK_PORT)",
            (ROOT / "docker-compose.yml").read_text(),
        )
    )
    told = {name for page in PAGES for name in VARIABLE.findall(page.read_text())}
    assert told == read | composed
    assert read <= set(VARIABLE.findall((ROOT / "docs" / "operations.md").read_text()))


def test_the_diagnosed_errors_are_documented() -> None:
    """The five errors of the lab are in the table of the operator's page."""
    page = (ROOT / "docs" / "operations.md").read_text()
    for words in (
        "UnixStreamServer",
        "LogKeys",
        "Connection to node -1",
        ".ivy2",
        "Failed to update metadata",
    ):
        assert words in page


@pages
def test_pages_name_no_place_of_one_machine(page: Path) -> None:
    """What is told holds in every checkout."""
    assert not re.search(r"/(?:home|root|Users|work)/", page.read_text())
