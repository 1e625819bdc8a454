"""I7: the second engine gives each record the same verdict and reason as Spark."""

from headrace.contract.verdicts import Verdict
from headrace.ledger.entry import Entry
from headrace.verify.findings import Advice, Findings, Invariant

VERDICTS = Invariant(
    id="I7",
    word="verdicts",
    title="the second engine gives each record the same verdict and reason",
    unit="records",
    advice=Advice(
        means="Spark and the second engine judge the same record differently, so one of them does not obey the contract.",
        do="If I8 is broken too, mend that first: rows of a file that was altered are not what Spark wrote. "
        "If not, do not change any file. Look at the named record and at what the filter says of it; write the filter more plainly "
        "if it leaves room, and report the difference as a bug. `headrace reset {pipeline}` then judges the records again.",
    ),
)


def difference(wanted: str, found: str, wanted_reason: str | None, found_reason: str | None) -> str | None:
    """How the verdict that was published differs from the second engine's, in words; `None` if it does not.

    Reasons are `reason field`, or null where there is none.
    """
    if wanted != found:
        return f"{f'{wanted} ({wanted_reason})' if wanted_reason else wanted} by the contract, found {found}"
    if found == Verdict.QUARANTINED and wanted_reason != found_reason:
        return f"quarantined for {found_reason}, by the contract for {wanted_reason}"
    return None


def leave_unjudged(entry: Entry, findings: Findings, *, was_proven: bool) -> None:
    """An entry is judged by its own rules or not at all: proven once, it stays proven.

    Else it can't be green.
    """
    if was_proven:
        findings.not_checked(VERDICTS)
        return
    message = f"judged by version {entry.rules} of the rules, which this version of Headrace does not know: verify it with the version that wrote it"
    findings.add(VERDICTS, message, micro_batch=entry.number)
