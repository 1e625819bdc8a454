"""The HTML report."""

import unicodedata
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings

from headrace.report.html import MAX_ROWS, notice, render
from headrace.verify.quarantined import Unusable
from headrace.verify.result import Balance, InvariantState, Minute, Report, Sample, State, Totals, Undeclared
from tests.headrace.report.examples import HOSTILE, NOW, finding, invariant, report, reports
from tests.headrace.report.page import Page

REFERENCES = {
    "src",
    "href",
    "srcset",
    "action",
    "formaction",
    "poster",
    "data",
    "background",
    "ping",
    "cite",
    "style",
}
USUAL = Unusable(
    topic="test-topic", partition=0, offset=1_003, reason="wrong_type", field="amount", key="k-3", value="{}"
)
OWN_TAGS = {tag for tag, _ in Page(render(report())).tags}


def red(*broken: int) -> Report:
    """A report in which the named invariants are broken."""
    states = [
        invariant(number, InvariantState.BROKEN, [finding()]) if number in broken else invariant(number)
        for number in range(1, 9)
    ]
    return report(state=State.RED, invariants=states)


@given(reports)
@settings(max_examples=60, deadline=None)
def test_any_report_is_a_page_without_references_outside_and_without_invisible_characters(
    anything: Report,
) -> None:
    """It has no script, nothing that a browser would load or follow, and no value that hides others."""
    source = render(anything)
    source.encode()
    allowed = "\n\u200c\u200d"
    assert {c for c in source if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}} <= set(
        allowed
    )
    page = Page(source)
    assert {"script", "img", "link", "iframe", "object", "embed", "form", "base"}.isdisjoint(
        tag for tag, _ in page.tags
    )
    for _, attributes in page.tags:
        assert all((value or "").startswith("#") for name, value in attributes.items() if name in REFERENCES)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page.style
    assert "@import" not in page.style


@pytest.mark.parametrize("value", HOSTILE)
def test_values_of_records_stay_text(value: str) -> None:
    """A record's value adds no tag to the page."""
    samples = [Sample(topic=value, partition=0, offset=0, timestamp=NOW, key=value, values={value: value})]
    tags = {tag for tag, _ in Page(render(report(samples=samples))).tags}
    assert tags <= OWN_TAGS


@pytest.mark.parametrize("value", HOSTILE)
def test_quarantined_records_stay_text(value: str) -> None:
    """Nor does anything of a record that was quarantined."""
    unusable = Unusable(topic=value, partition=0, offset=3, reason=value, field=value, key=value, value=value)
    page = Page(render(report(), [unusable]))
    assert {tag for tag, _ in page.tags} <= {
        tag for tag, _ in Page(render(report(), [USUAL])).tags
    } | OWN_TAGS
    assert not [
        character
        for character in page.text
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    ]


def test_quarantined_records_are_shown_with_position_reason_and_field() -> None:
    """Below the counts by reason and field; a page without samples does not speak of any."""
    assert "test-topic-0 @ 1,003 wrong_type amount k-3 {} " in Page(render(report(), [USUAL])).text
    assert "Samples come from" in Page(render(report(), [USUAL])).text
    assert "Samples come from" not in Page(render(report())).text


@pytest.mark.parametrize("value", HOSTILE)
def test_names_of_fields_stay_text(value: str) -> None:
    """A name that no pipeline declares comes from a record."""
    tags = {
        tag
        for tag, _ in Page(render(report(undeclared=Undeclared(sample=9, fields=[value], more=False)))).tags
    }
    assert tags <= OWN_TAGS | {"bdi"}


def test_undeclared_fields_are_said_to_be_from_a_sample() -> None:
    """There may be others."""
    found = Undeclared(sample=10_000, fields=["device", "two words"], more=True)
    assert (
        'not declared device , "two words" (and others, in a sample of 10,000 records:'
        in Page(render(report(undeclared=found))).text
    )
    assert (
        "not declared"
        not in Page(render(report(undeclared=Undeclared(sample=9, fields=[], more=False)))).text
    )


def test_template_has_no_address() -> None:
    """The page as such names no address at all."""
    source = render(report())
    assert not any(part in source for part in ("http://", "https://", "//cdn", "src=", "url("))


def test_page_forbids_itself_to_load_anything() -> None:
    """Opened from disk, where no header does it, the page still has a policy."""
    policies = [meta["content"] for meta in Page(render(report())).tagged("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_green_leads_with_how_many_records_are_accounted_for() -> None:
    """The first sentence of a green report is the outcome."""
    assert "Green: all 1,000 records are accounted for" in Page(render(report())).text


def test_red_leads_with_how_much_is_broken() -> None:
    """The first sentence of a red report says so, before any figure."""
    text = Page(render(red(6, 8))).text
    assert text.index("Red: I8 (files) and I6 (balance) are broken") < text.index("Balance")


def test_red_says_where_and_what_to_do() -> None:
    """A broken invariant shows its findings' places and the way out for this pipeline."""
    text = Page(render(red(6))).text
    assert "3 offsets hold records that no verdict counts." in text
    assert "test-topic, partition 1" in text
    assert "120 to 122" in text
    assert "headrace reset important_messages" in text


def test_unverifiable_is_red_and_says_that_nobody_can_prove_it() -> None:
    """What aged out of Kafka is not called broken, and not passed over."""
    lost = invariant(7, InvariantState.UNVERIFIABLE, [finding(message="Kafka's earliest offset is 80.")])
    text = Page(render(report(state=State.RED, invariants=[lost]))).text
    assert "Red: I7 (verdicts) cannot be verified any more" in text
    assert "retention" in text


def test_state_that_contradicts_the_figures_is_not_called_green() -> None:
    """A report that says green over a balance that doesn't add up leads with the contradiction."""
    lacking = Balance(
        topic="t", partition=0, from_offset=0, until_offset=10, kept=9, filtered=0, quarantined=0, gaps=0
    )
    text = Page(render(report(balance=[lacking]))).text
    assert "Green:" not in text
    assert "the report says green, but its balance does not add up" in text
    assert "Partition 0 of t does not add up: 1 offset unaccounted for" in text


def test_balance_totals_add_up_visibly() -> None:
    """Offsets in range and their four parts are there, summed over all partitions."""
    assert "1,002 offsets = 286 kept + 700 filtered + 14 quarantined + 2 gaps" in Page(render(report())).text


def test_further_findings_are_counted() -> None:
    """A report that holds only the first findings says how many there are."""
    first = [finding(from_offset=offset, until_offset=offset + 1) for offset in range(20)]
    many = msgspec.structs.replace(invariant(4, InvariantState.BROKEN, first), found=240)
    text = Page(render(report(state=State.RED, invariants=[many]))).text
    assert "15 more findings" in text
    assert "These are the first 20 of 240 findings." in text


def test_links_lead_to_what_is_there() -> None:
    """Each link in the page has its target."""
    page = Page(render(red(1, 8)))
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {(link["href"] or "").removeprefix("#") for link in page.tagged("a")}
    assert len(links) == 2
    assert links <= targets


def test_nothing_new_is_said_in_words() -> None:
    """Every section of an empty report says that there is nothing, and why."""
    nothing = report(balance=[], receipts=[], quarantine=[], kept_per_minute=[], samples=[], micro_batches=[])
    text = Page(render(nothing)).text
    for sentence in (
        "Green: nothing new to verify",
        "No offsets: this run had no micro-batch to check",
        "No receipts",
        "No record was quarantined",
        "Nothing was kept, so there is nothing to draw",
        "This run had no micro-batch to check.",
        "there are no samples",
    ):
        assert sentence in text


def test_nothing_ever_is_not_called_unchanged() -> None:
    """Before the first micro-batch the report claims nothing about files."""
    nothing = Totals(micro_batches=0, kept=0, filtered=0, quarantined=0, gaps=0)
    assert "Green: nothing was published yet" in Page(render(report(balance=[], ever=nothing))).text


def test_null_and_empty_values_differ() -> None:
    """A null key is shown as null and an empty value as empty."""
    samples = [Sample(topic="t", partition=0, offset=0, timestamp=NOW, key=None, values={"value": ""})]
    assert "t-0 @ 0 2026-11-22 21:15:03 UTC null empty" in Page(render(report(samples=samples))).text


def test_long_values_are_shortened() -> None:
    """A value of 900 KB does not end up in the page, its length does."""
    samples = [
        Sample(topic="t", partition=0, offset=0, timestamp=NOW, key="k", values={"value": "y" * 900_000})
    ]
    source = render(report(samples=samples))
    assert len(source) < 50_000
    assert "(900,000 characters)" in source


def test_long_tables_say_what_they_leave_out() -> None:
    """A table of a thousand partitions shows the first ones and names the rest; the total counts all."""
    row = report().balance[0]
    text = Page(render(report(balance=[row] * 1_000))).text
    assert f"These are the first {MAX_ROWS} of 1,000 partitions" in text
    assert "600,000 offsets" in text


@pytest.mark.parametrize(
    ("minutes", "unit", "bars"), [(1, "minute", 1), (100, "minute", 100), (1_000, "hour", 17)]
)
def test_bars_stay_wide_enough_to_see(minutes: int, unit: str, bars: int) -> None:
    """Few minutes are drawn one by one, many are summed to hours."""
    start = NOW.replace(hour=0, minute=0, second=0)
    kept = [Minute(minute=start + timedelta(minutes=minute), kept=1) for minute in range(minutes)]
    page = Page(render(report(kept_per_minute=kept, balance=[])))
    assert f"Kept per {unit}" in page.text
    assert len(page.tagged("rect")) == bars


def test_readers_name_the_glob_and_the_folder() -> None:
    """DuckDB and Polars get the glob, the others the folder."""
    text = Page(render(report())).text
    assert text.count("data/important_messages/events/**/*.parquet'") == 2
    assert text.count("('data/important_messages/events')") == 3


def test_notice_escapes_what_it_says() -> None:
    """A DAG id cannot become markup."""
    page = Page(notice("No report", "`<script>` is no pipeline."))
    assert not page.tagged("script")
    assert "<script> is no pipeline." in page.text
