"""I3: no record of a batch is in Kafka twice."""

from headrace.verify.findings import Advice, Invariant

KEYS = Invariant(
    id="I3",
    word="keys",
    title="no record of a batch is in Kafka twice",
    unit="keys",
    advice=Advice(
        means="Two records of one batch have the same key: a request of an earlier try arrived after the retry had looked for it.",
        do="Both records are in Kafka and in the files; consumers can drop one by `_key`. "
        "Move the batch aside with `headrace reset {pipeline}`; in a new run the keys are new.",
    ),
)
