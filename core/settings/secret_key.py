"""The one secret from which all keys are derived: refusing weak ones, and making one in development."""

import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from core.settings.files import SettingsError

MIN_SECRET_LENGTH = 32
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


def refuse_weak(secret: str) -> None:
    """Refuse a secret that can be guessed.

    Raises:
        ValueError: it is short, or a placeholder of an example.

    """
    lowered = secret.lower()
    if len(secret) < MIN_SECRET_LENGTH:
        raise ValueError(f"AUTH_SECRET_KEY is shorter than {MIN_SECRET_LENGTH} characters")
    if any(word in lowered for word in PLACEHOLDERS) or len(set(secret)) < 8:  # noqa: PLR2004
        raise ValueError("AUTH_SECRET_KEY is a placeholder, not a secret")


def development_secret(folder: Path) -> SecretStr:
    """Read the secret of this folder, or make it once, readable by its owner alone.

    It is written under another name and then linked: of two first starts one wins, and neither reads half a file.
    """
    path = folder / "secret_key"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"secret_key.{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} may be read by others; chmod 600 it")
    secret = path.read_text().strip()
    try:
        refuse_weak(secret)
    except ValueError:
        raise SettingsError(f"{path} holds no usable secret; remove it to have a new one made") from None
    return SecretStr(secret)
