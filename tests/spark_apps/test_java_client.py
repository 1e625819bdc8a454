"""Settings of a connection as Spark's Kafka client wants them."""

from pathlib import Path

import pytest

from headrace.errors import UsageError
from spark_apps.java_client import java_client

SERVER = {"bootstrap.servers": "kafka:9092"}


def test_an_address_alone_stays_as_it_is() -> None:
    """Nothing is added to a cluster that asks for nothing; librdkafka's own tuning is left out."""
    assert java_client({**SERVER, "queued.min.messages": "1000", "log_level": "0"}) == SERVER


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_becomes_a_jaas_configuration(name: str, mechanism: str) -> None:
    """User and password keep every character."""
    found = java_client(
        {
            **SERVER,
            "security.protocol": "sasl_ssl",
            name: mechanism,
            "sasl.username": "me",
            "sasl.password": 'a"b\\c;$ =',
        }
    )
    module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
    assert found == {
        **SERVER,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": mechanism,
        "sasl.jaas.config": f'org.apache.kafka.common.security.{module} required username="me" password="a\\"b\\\\c;$ =";',
    }


def test_certificates_travel_as_text(tmp_path: Path) -> None:
    """Executors do not have the driver's files."""
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----")
    found = java_client(
        {
            **SERVER,
            "security.protocol": "SSL",
            **{f"ssl.{name}.location": str(tmp_path / name) for name in ("ca", "certificate", "key")},
            "ssl.key.password": "secret",
            "ssl.endpoint.identification.algorithm": "none",
        }
    )
    assert found == {
        **SERVER,
        "security.protocol": "SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "-----BEGIN ca-----",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "-----BEGIN certificate-----",
        "ssl.keystore.key": "-----BEGIN key-----",
        "ssl.key.password": "secret",
        "ssl.endpoint.identification.algorithm": "",
    }
    assert java_client({**SERVER, "ssl.ca.pem": "text"})["ssl.truststore.certificates"] == "text"


@pytest.mark.parametrize("value", ["true", "True", "1"])
def test_checking_certificates_needs_no_telling(value: str) -> None:
    """Java always checks them, so asking for it, librdkafka's default, is no mistake."""
    assert java_client({**SERVER, "enable.ssl.certificate.verification": value}) == SERVER


@pytest.mark.parametrize(
    ("there", "missing"), [("ssl.certificate", "ssl.key"), ("ssl.key", "ssl.certificate")]
)
@pytest.mark.parametrize("kind", ["pem", "location"])
def test_half_a_key_pair_is_refused(there: str, missing: str, kind: str, tmp_path: Path) -> None:
    """The broker would see a client without a certificate.

    The message names the half that is there and the one that is not.
    """
    (tmp_path / "half").write_text("text")
    with pytest.raises(UsageError, match=f"{there} is set and {missing} is not"):
        java_client({**SERVER, f"{there}.{kind}": str(tmp_path / "half")})


@pytest.mark.parametrize(
    "setting",
    [
        {"sasl.mechanism": "OAUTHBEARER"},
        {"sasl.mechanism": "GSSAPI"},
        {"enable.ssl.certificate.verification": "false"},
        {"ssl.keystore.location": "/keys.p12"},
        {"ssl.certificate.location": "/nowhere"},
        {"sasl.oauthbearer.method": "oidc"},
    ],
)
def test_what_cannot_be_told_is_refused(setting: dict[str, str]) -> None:
    """A setting about security is never just left out, and the message names it."""
    with pytest.raises(UsageError, match=next(iter(setting))):
        java_client({**SERVER, **setting})
