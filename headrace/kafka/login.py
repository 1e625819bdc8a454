"""How a client of Kafka's protocol logs in, from librdkafka's settings."""

import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from headrace.errors import UnsupportedLoginError


class Login:
    """What librdkafka's settings say of the way in, for this client.

    protocol   `security.protocol` in capitals
    mechanism  of SASL, or None
    tls        Python's context, or None
    client_id  by which quotas and the broker's logs know it
    """

    def __init__(self, config: Mapping[str, object]) -> None:
        self._servers = config["bootstrap.servers"]
        given = {key: str(value) for key, value in config.items() if value != ""}
        self.client_id = given.get("client.id", "headrace")
        self.protocol = given.pop("security.protocol", "plaintext").upper()
        # Two names of one setting.
        names = [given.pop(name, None) for name in ("sasl.mechanisms", "sasl.mechanism")]
        self.username, self.password = given.pop("sasl.username", ""), given.pop("sasl.password", "")
        # GSSAPI is librdkafka's default.
        self.mechanism = (names[0] or names[1] or "GSSAPI") if self.protocol.startswith("SASL_") else None
        if self.mechanism not in (None, *MECHANISMS):
            self.refuse(f"it does not support SASL with {self.mechanism}")
        self.tls = self._tls(given) if self.protocol.endswith("SSL") else None
        ignored = [
            *([] if self.mechanism else ["sasl.", "enable.sasl.", "oauthbearer"]),
            *([] if self.tls else ["ssl.", "enable.ssl."]),
        ]
        relevant = [key for key in given if key.startswith(SECURITY) and not key.startswith(tuple(ignored))]
        if relevant:
            self.refuse(f"it does not support {', '.join(sorted(relevant))}")

    def refuse(self, why: str) -> NoReturn:
        """Raise the error that says why this client cannot log in."""
        raise UnsupportedLoginError(
            f"Gaps can't be explained: the client that reads record batches cannot log in to Kafka at {self._servers}, "
            f"because {why}. It supports SASL with {', '.join(MECHANISMS)} (sasl.mechanism, sasl.username, sasl.password), and TLS with PEM (ssl.ca.location, "
            "ssl.certificate.location, ssl.key.location, ssl.key.password, or the same ending in .pem)."
        )

    def _tls(self, given: dict[str, str]) -> ssl.SSLContext:
        # No stricter than librdkafka, as `create_default_context` is from Python 3.13 on.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        is_verified = given.pop("enable.ssl.certificate.verification", "true").lower() in TRUE
        is_named = given.pop("ssl.endpoint.identification.algorithm", "https") != "none"
        context.check_hostname = is_verified and is_named
        context.verify_mode = ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE
        try:
            _trust(context, given.pop("ssl.ca.location", None), given.pop("ssl.ca.pem", None))
            with _file(given, "ssl.certificate") as certificate, _file(given, "ssl.key") as key:
                password = given.pop("ssl.key.password", "")  # never None: OpenSSL would ask at the terminal
                if certificate:
                    context.load_cert_chain(certificate, key, password)
        except (OSError, ValueError) as error:
            self.refuse(f"the certificates or the key can't be loaded: {error}")
        return context


def _trust(context: ssl.SSLContext, location: str | None, content: str | None) -> None:
    """Trust the authorities that the settings name, or else the machine's."""
    if content is not None:
        context.load_verify_locations(cadata=content)
    elif location is None or location == "probe":
        context.load_default_certs()
    elif Path(location).is_dir():
        context.load_verify_locations(capath=location)
    else:
        context.load_verify_locations(cafile=location)


@contextmanager
def _file(given: dict[str, str], name: str) -> Iterator[str | None]:
    """The file that a setting is (`….location`), or one with what it says (`….pem`).

    Python reads certificates and keys from files only.
    """
    content, location = given.pop(f"{name}.pem", None), given.pop(f"{name}.location", None)
    if location is not None or content is None:
        yield location
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # readable for its owner alone
        file.write(content)
        file.flush()
        yield file.name


MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SECURITY = ("sasl.", "ssl.", "security.", "enable.sasl.", "enable.ssl.", "oauthbearer", "https.")
"""What begins like this decides who may read: it is translated or refused, never left out. The rest is
librdkafka's own tuning."""
TRUE = {"true", "t", "1"}
"""What librdkafka takes for yes, in any case."""
