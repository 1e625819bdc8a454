"""Kafka settings in librdkafka's words, translated for the Java client inside Spark.

The connection `kafka_default` holds them.
"""

from collections.abc import Mapping
from pathlib import Path

from headrace.errors import UsageError

SAME = frozenset({"bootstrap.servers", "client.id", "client.rack", "security.protocol", "request.timeout.ms"})
"""Settings that both clients know by one name and mean alike."""

LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}

SECURITY = ("sasl.", "ssl.", "security.", "enable.sasl.", "enable.ssl.", "oauthbearer", "https.")
"""What begins like this decides who may read: it is translated or refused, never left out. The rest is
librdkafka's own tuning."""

TRUE = {"true", "t", "1"}
"""What librdkafka takes for yes, in any case."""


def java_client(config: Mapping[str, str]) -> dict[str, str]:
    """Translate a connection's settings. Files are read here: executors on other machines do not have them.

    Certificates and keys are PEM on both sides; Java wants private keys as PKCS #8 (`BEGIN PRIVATE KEY`).
    Raises `UsageError` naming a setting about security that has no counterpart here.
    """
    given = {key: value for key, value in config.items() if value != ""}
    java = {key: given.pop(key) for key in SAME & given.keys()}
    if "security.protocol" in java:
        java["security.protocol"] = java["security.protocol"].upper()
    java |= _sasl(given) | _tls(given)
    if unknown := sorted(key for key in given if key.startswith(SECURITY)):
        raise UsageError(
            f"kafka_default: {', '.join(unknown)} cannot be set on Spark's Kafka client. Supported are SASL with "
            f"{', '.join(LOGIN_MODULES)} (sasl.mechanism, sasl.username, sasl.password), and TLS with PEM (ssl.ca.location, "
            "ssl.certificate.location, ssl.key.location, ssl.key.password, or the same ending in .pem)."
        )
    return java


def _sasl(given: dict[str, str]) -> dict[str, str]:
    mechanism = given.pop("sasl.mechanisms", None) or given.pop("sasl.mechanism", None)
    given.pop("sasl.mechanism", None)
    if mechanism is None or mechanism not in LOGIN_MODULES:
        if mechanism is not None:
            given["sasl.mechanism"] = mechanism  # reported as one that is not supported
        return {}
    user, password = (_quoted(given.pop(name, "")) for name in ("sasl.username", "sasl.password"))
    return {
        "sasl.mechanism": mechanism,
        "sasl.jaas.config": f"{LOGIN_MODULES[mechanism]} required username={user} password={password};",
    }


def _tls(given: dict[str, str]) -> dict[str, str]:
    java: dict[str, str] = {}
    if authorities := _pem(given, "ssl.ca"):
        java |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": authorities}
    certificate, key = _pem(given, "ssl.certificate"), _pem(given, "ssl.key")
    if bool(certificate) != bool(key):
        there, missing = ("ssl.certificate", "ssl.key") if certificate else ("ssl.key", "ssl.certificate")
        raise UsageError(
            f"kafka_default: {there} is set and {missing} is not; a client's certificate and its key belong together."
        )
    if certificate and key:
        java |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": certificate,
            "ssl.keystore.key": key,
        }
    if password := given.pop("ssl.key.password", None):
        java["ssl.key.password"] = password
    if (check := given.pop("ssl.endpoint.identification.algorithm", None)) is not None:
        java["ssl.endpoint.identification.algorithm"] = "" if check == "none" else check
    if given.get("enable.ssl.certificate.verification", "").lower() in TRUE:
        del given["enable.ssl.certificate.verification"]  # Java always does
    return java


def _pem(given: dict[str, str], name: str) -> str | None:
    """The content of a setting that is a file (`….location`) or stands there itself (`….pem`)."""
    content, location = given.pop(f"{name}.pem", None), given.pop(f"{name}.location", None)
    if location is None:
        return content
    try:
        return Path(location).read_text()
    except OSError as error:
        raise UsageError(
            f"kafka_default: {name}.location is {location}, which can't be read here: {error.strerror}."
        ) from error


def _quoted(text: str) -> str:
    """A value in a JAAS configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
