"""Keys and password of the embedded Airflow: made once, readable only by their owner."""

import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

import msgspec

from headrace.local.install import files

USER = "admin"


class Keys(msgspec.Struct, frozen=True):
    """What Airflow signs and encrypts with."""

    fernet: str
    jwt: str
    api: str


def keys(path: Path) -> Keys:
    """Return the keys in the file, made now if there is none."""
    if not path.is_file():
        # Airflow floods its logs with warnings below 64 bytes.
        made = Keys(
            urlsafe_b64encode(secrets.token_bytes(32)).decode(), secrets.token_hex(64), secrets.token_hex(32)
        )
        files.write_private(path, msgspec.json.encode(made).decode())
    return msgspec.json.decode(path.read_bytes(), type=Keys)


def password(path: Path) -> str:
    """Return the password of `USER` in the file, in the form of Airflow's simple auth manager.

    Made now if there is none.
    """
    if not path.is_file():
        files.write_private(path, msgspec.json.encode({USER: secrets.token_urlsafe(12)}).decode() + "\n")
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])[USER]
