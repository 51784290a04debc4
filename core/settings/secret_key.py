"""The one secret from which all keys are derived: refusing weak ones, and making one in development."""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from string import hexdigits

from pydantic import SecretStr

from core.settings.files import SettingsError

MIN_SECRET_LENGTH = 32
MIN_DIFFERENT = 16
# There are 16 digits of hexadecimal numbers, and of 64 at random (`openssl rand -hex 32`) one is missing in every
# fourth; fewer than ten are there in none of 10**12.
MIN_DIFFERENT_DIGITS = 10
WRITTEN_WITHIN = 0.5  # seconds from the making of a file to its content, in another process
# Placeholders of examples, templates and tutorials; a secret that contains one of them is public.
PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "changethis",
    "secret",
    "example",
    "placeholder",
    "my_precious",
)


def is_weak(secret: str) -> bool:
    """Whether a secret can be guessed: it is short, monotonous, periodic, or a placeholder of an example."""
    is_hexadecimal = set(secret.lower()) <= set(hexdigits)
    different = MIN_DIFFERENT_DIGITS if is_hexadecimal else MIN_DIFFERENT
    return (
        len(secret) < MIN_SECRET_LENGTH
        or len(set(secret)) < different
        or any(word in secret.lower() for word in PLACEHOLDERS)
        or any(secret[length:] == secret[:-length] for length in range(1, len(secret) // 2 + 1))
    )


def secret_file(folder: Path) -> Path:
    """Return where the secret of a folder is."""
    return folder / "secret_key"


def development_secret(folder: Path) -> SecretStr:
    """Read the secret of this folder, or make it once, readable by its owner alone."""
    path = secret_file(folder)
    if not path.exists():
        _make(path)
    secret = _read(path)
    if is_weak(secret):
        raise SettingsError(f"{path} holds no usable secret; put back the one that the database knows")
    return SecretStr(secret)


def _make(path: Path) -> None:
    """Write it under another name and link that: of two first starts one wins, and neither reads half a file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    secret = secrets.token_urlsafe(48)
    _write(draft, secret)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:
        # Shares of virtual machines, exFAT and some network mounts have no links. One start wins here too, and the
        # others wait for what it writes.
        with suppress(FileExistsError):
            _write(path, secret)
    finally:
        draft.unlink()


def _write(path: Path, secret: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)


def _read(path: Path) -> str:
    deadline = time.monotonic() + WRITTEN_WITHIN
    while not (secret := path.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return secret
