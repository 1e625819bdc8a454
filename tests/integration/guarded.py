"""A broker that asks who is there, and lets not everybody do everything."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import brokers
from brokers import free_port
from headrace.local.embedded.layout import Layout

PASSWORD = "wrong horse, battery=staple"  # noqa: S105, of a broker that lives for a minute
PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"
OWN = "headrace"
"""A user who may do everything."""
RULED = "app"
"""A user who may do what the access lists say, and logs in with PLAIN."""


@dataclass(frozen=True)
class Guarded:
    """A broker with four listeners, and a cleaner that does not rest."""

    folder: Path
    open: str
    sasl: str
    sasl_tls: str
    tls: str

    def login(self, mechanism: str, password: str = PASSWORD, user: str = OWN) -> dict[str, str]:
        """Settings for the listener with a password."""
        return {
            "bootstrap.servers": self.sasl,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
        }


@contextmanager
def running(folder: Path, layout: Layout) -> Iterator[Guarded]:
    """Run a broker whose listeners want a password, TLS, both, or nothing, with access lists."""
    certificates(folder)
    port, sasl, sasl_tls, tls = (free_port() for _ in range(4))
    names = {"BROKER": port, "SASL": sasl, "SASLTLS": sasl_tls, "TLS": tls}
    listeners = ",".join(f"{name}://127.0.0.1:{number}" for name, number in names.items())
    settings = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{port + 1}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL,TLS:SSL",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{OWN};User:CN=client",
        **brokers.CLEANER,
    }
    for name in ("sasl", "sasltls"):
        settings[f"listener.name.{name}.plain.sasl.jaas.config"] = (
            f'{PLAIN_LOGIN} required user_{OWN}="{PASSWORD}" user_{RULED}="{PASSWORD}";'
        )
        for size in (256, 512):
            settings[f"listener.name.{name}.scram-sha-{size}.sasl.jaas.config"] = f"{SCRAM_LOGIN} required;"
    for name in ("sasltls", "tls"):
        settings[f"listener.name.{name}.ssl.keystore.type"] = "PEM"
        settings[f"listener.name.{name}.ssl.keystore.location"] = str(folder / "server.pem")
    settings["listener.name.tls.ssl.truststore.type"] = "PEM"
    settings["listener.name.tls.ssl.truststore.location"] = str(folder / "ca.pem")
    settings["listener.name.tls.ssl.client.auth"] = "required"
    addresses = [f"127.0.0.1:{number}" for number in names.values()]
    with brokers.broker(folder / "home", port, layout.jars, layout.java_home, settings):
        admin = AdminClient({"bootstrap.servers": addresses[0], "log_level": 0})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            credential = UserScramCredentialUpsertion(
                OWN, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode()
            )
            admin.alter_user_scram_credentials([credential])[OWN].result(30)
        yield Guarded(folder, *addresses)


def certificates(folder: Path) -> None:
    """An authority, and certificates by it for server and client, each with its key in the same file."""
    now = dt.datetime.now(dt.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server", "client")}
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    for name, key in keys.items():
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(address, critical=False)
            .sign(keys["ca"], hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        (folder / f"{name}.pem").write_bytes(public if name == "ca" else private + public)
