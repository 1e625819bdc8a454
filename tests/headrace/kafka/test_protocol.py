"""Which of librdkafka's settings the client for record batches can follow.

How it logs in is tested on a real broker.
"""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import UnsupportedLoginError
from headrace.kafka.login import Login
from headrace.settings import ROOT

SERVER = {"bootstrap.servers": "k:9092", "log_level": 0}
PASSWORD = {**SERVER, "sasl.username": "u", "sasl.password": "p"}
TLS = {**SERVER, "security.protocol": "ssl"}


def test_without_security_nothing_is_needed() -> None:
    """The other client's tuning does not concern this one; nor do settings that its protocol does not use."""
    tuning = {"fetch.max.bytes": "1", "socket.keepalive.enable": "true", "client.id": "x"}
    unused = {
        "ssl.ca.location": "/nowhere",
        "ssl.keystore.location": "k.p12",
        "sasl.kerberos.keytab": "k",
        "enable.ssl.certificate.verification": "no",
    }
    assert Login({**SERVER, **tuning}).client_id == "x"
    for config in (SERVER, {**SERVER, **tuning}, {**PASSWORD, **unused}):
        login = Login(config)
        assert (login.protocol, login.mechanism, login.tls) == ("PLAINTEXT", None, None)


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_passwords(name: str, mechanism: str) -> None:
    """Either name of the setting will do."""
    login = Login({**PASSWORD, "security.protocol": "sasl_plaintext", name: mechanism})
    assert (login.protocol, login.mechanism, login.username, login.password) == (
        "SASL_PLAINTEXT",
        mechanism,
        "u",
        "p",
    )


@pytest.mark.parametrize("setting", [
    {"sasl.mechanism": "OAUTHBEARER"},
    {"sasl.mechanism": "GSSAPI", "sasl.kerberos.keytab": "k"},
    {},  # librdkafka then takes Kerberos
    {"sasl.mechanism": "PLAIN", "sasl.oauthbearer.config": "x"},
    {"sasl.mechanism": "PLAIN", "https.ca.location": "x"},
])  # fmt: skip
def test_other_logins_are_refused_by_name(setting: dict[str, str]) -> None:
    """And not left out: that would be another login."""
    with pytest.raises(
        UnsupportedLoginError,
        match=r"k:9092.*(OAUTHBEARER|GSSAPI|sasl\.oauthbearer\.config|https\.ca\.location).*It supports SASL with",
    ):
        Login({**PASSWORD, "security.protocol": "SASL_PLAINTEXT", **setting})


@pytest.mark.parametrize(
    "setting",
    [
        "ssl.keystore.location",
        "ssl.crl.location",
        "ssl.engine.location",
        "ssl.providers",
        "ssl.cipher.suites",
    ],
)
def test_settings_of_tls_without_a_counterpart_are_refused_by_name(setting: str) -> None:
    """A keystore in PKCS #12, for instance."""
    with pytest.raises(UnsupportedLoginError, match=setting):
        Login({**TLS, setting: "x"})


def test_what_is_checked_of_a_server_is_what_the_settings_say() -> None:
    """Its certificate and its name, unless they say otherwise."""
    for setting, expected in (
        ({}, (ssl.CERT_REQUIRED, True)),
        (
            {"enable.ssl.certificate.verification": "TRUE", "ssl.endpoint.identification.algorithm": "https"},
            (ssl.CERT_REQUIRED, True),
        ),
        ({"ssl.endpoint.identification.algorithm": "none"}, (ssl.CERT_REQUIRED, False)),
        ({"enable.ssl.certificate.verification": "false"}, (ssl.CERT_NONE, False)),
    ):
        tls = Login({**TLS, **setting}).tls
        assert tls is not None
        assert (tls.verify_mode, tls.check_hostname) == expected


@pytest.mark.parametrize("setting", [
    {"ssl.ca.location": "/nowhere/ca.pem"},
    {"ssl.ca.pem": "no certificate"},
    {"ssl.certificate.pem": "no certificate", "ssl.key.pem": "no key"},
    {"ssl.certificate.location": "/nowhere/own.pem", "ssl.key.location": "/nowhere/own.pem"},
])  # fmt: skip
def test_certificates_that_cannot_be_read_are_refused(setting: dict[str, str]) -> None:
    """With what Python says of them."""
    with pytest.raises(UnsupportedLoginError, match="certificates or the key"):
        Login({**TLS, **setting})


def test_authorities_in_a_folder(tmp_path: Path) -> None:
    """Which `ssl.ca.location` may be, too."""
    assert Login({**TLS, "ssl.ca.location": str(tmp_path)}).tls is not None


def test_a_password_is_in_no_message() -> None:
    """Messages go to logs."""
    with pytest.raises(UnsupportedLoginError) as raised:
        Login(
            {
                **SERVER,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "OAUTHBEARER",
                "sasl.password": "s3cret",
            }
        )
    assert "s3cret" not in str(raised.value)


def test_the_client_is_imported_with_the_first_batch_and_warns_of_nothing() -> None:
    """It takes 0.3 s, and most runs have no gap."""
    code = """
import sys
import headrace.kafka.gaps, headrace.kafka, headrace.kafka.batch_reader
assert "kafka" not in sys.modules
import headrace.kafka.protocol
assert "kafka" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
