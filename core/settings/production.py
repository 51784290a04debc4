"""What production refuses: settings that undo what the service promises, in one table.

Each row may be allowed by its name in `AUTH_INSECURE`, for an operator who knows why; it is told at every start then.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from core.settings.groups import (
    DatabaseSettings,
    HttpSettings,
    MailSettings,
    PasswordSettings,
    ThrottleSettings,
    TokenSettings,
)
from core.settings.secret_key import is_weak

# Verifiers cache a JWKS for five minutes, so a key that signs sooner would be unknown to some of them.
MIN_PROPAGATION = timedelta(minutes=6)
MIN_BCRYPT_COST = 10  # OWASP Password Storage Cheat Sheet; ASVS 5.0 appendix C
# OWASP Password Storage Cheat Sheet: KiB and passes, which are of equal strength.
ARGON2_FLOORS = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))
# The shortest prefixes of networks that somebody owns; 10.0.0.0/8 and fc00::/7 are the largest private ones.
WIDEST_NETWORKS = {4: 8, 6: 7}
ENCRYPTED = ("require", "verify-ca", "verify-full")  # libpq's other modes send in clear what a server does not encrypt


class Given(Protocol):
    """The settings as they were given, before missing values are filled in."""

    @property
    def secret_key(self) -> SecretStr | None:
        """The secret key."""
        ...

    @property
    def database(self) -> DatabaseSettings:
        """The database and its connections."""
        ...

    @property
    def tokens(self) -> TokenSettings:
        """Tokens, sessions and keys."""
        ...

    @property
    def passwords(self) -> PasswordSettings:
        """Policy and hashing."""
        ...

    @property
    def http(self) -> HttpSettings:
        """Addresses, proxies, origins."""
        ...

    @property
    def mail(self) -> MailSettings:
        """The mail server and letters."""
        ...

    @property
    def throttling(self) -> ThrottleSettings:
        """The rate limits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Danger:
    """One setting that production refuses."""

    name: str
    variable: str
    what: str
    """What it is, for the table."""
    line: str
    """What to do about it, behind the name of the variable."""
    is_met: Callable[[Given], bool]

    @property
    def refusal(self) -> str:
        """The line without the variable; it shows no value."""
        return f"{self.line} when AUTH_ENV=production, or AUTH_INSECURE={self.name} allows it"


def met(given: Given) -> tuple[Danger, ...]:
    """Return the rows that these settings meet."""
    return tuple(danger for danger in DANGERS if danger.is_met(given))


def dangers_table() -> list[str]:
    """Return the table in Markdown, line by line."""
    rows = [f"| `{danger.name}` | `{danger.variable}` | {danger.what} |" for danger in DANGERS]
    return ["| name | variable | what production refuses |", "|---|---|---|", *rows]


def unknown(names: Iterable[str]) -> Iterator[str]:
    """Return the names that no row has."""
    known = {danger.name for danger in DANGERS}
    return (name for name in names if name not in known)


def _has_weak_secret(given: Given) -> bool:
    return given.secret_key is not None and is_weak(given.secret_key.get_secret_value())


def _is_http(given: Given) -> bool:
    parts = urlsplit(given.http.public_url)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def _trusts_everybody(given: Given) -> bool:
    return any(network.prefixlen < WIDEST_NETWORKS[network.version] for network in given.http.trusted_proxies)


def _has_clear_database(given: Given) -> bool:
    url = given.database.url.get_secret_value()
    if not url.startswith("postgres"):
        return False
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    # What the URL leaves out, libpq reads from these variables.
    mode = options.get("sslmode") or os.environ.get("PGSSLMODE", "")
    return mode not in ENCRYPTED and not all(map(_stays_here, _hosts(parts.netloc, options)))


def _hosts(netloc: str, options: dict[str, str]) -> list[str]:
    """Return every host that libpq may connect to; a port and a user are no part of it."""
    named = [_without_port(host) for host in netloc.rpartition("@")[2].split(",")]
    given = [*named, *options.get("host", "").split(","), *options.get("hostaddr", "").split(",")]
    return [unquote(host) for host in given if host] or os.environ.get("PGHOST", "").split(",")


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _stays_here(host: str) -> bool:
    """Whether a host is a socket (for libpq a path, an abstract name or nothing at all) or this machine."""
    return host[:1] in ("", "/", "@") or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _sends_in_clear(given: Given) -> bool:
    url = given.mail.smtp_url
    parts = urlsplit(url.get_secret_value()) if url else None
    return parts is not None and parts.scheme == "smtp" and not _is_loopback(parts.hostname or "")


def _sends_password_in_clear(given: Given) -> bool:
    url = given.mail.smtp_url
    return url is not None and _sends_in_clear(given) and urlsplit(url.get_secret_value()).password is not None


def _has_cheap_bcrypt(given: Given) -> bool:
    return given.passwords.scheme == "bcrypt_sha256" and given.passwords.bcrypt_cost < MIN_BCRYPT_COST


def _has_cheap_argon2(given: Given) -> bool:
    found = given.passwords
    reached = any(found.argon2_memory >= memory and found.argon2_time >= time for memory, time in ARGON2_FLOORS)
    return found.scheme == "argon2id" and not reached


DANGERS = (
    Danger(
        name="no-secret-key",
        variable="AUTH_SECRET_KEY",
        what="No secret: one is made in the data folder, on each machine another",
        line="must be set",
        is_met=lambda given: given.secret_key is None,
    ),
    Danger(
        name="weak-secret-key",
        variable="AUTH_SECRET_KEY",
        what="A secret that can be guessed: under 32 characters, under 16 different ones (10 of hexadecimal digits), "
        "one that repeats a shorter one, or a placeholder of an example",
        line="must be made at random, as by openssl rand -base64 48,",
        is_met=_has_weak_secret,
    ),
    Danger(
        name="no-public-url",
        variable="AUTH_PUBLIC_URL",
        what="No public URL: links in mail lead to this machine",
        line="must be set",
        is_met=lambda given: "public_url" not in given.http.model_fields_set,
    ),
    Danger(
        name="http",
        variable="AUTH_PUBLIC_URL",
        what="A public URL of `http://` elsewhere than on this machine: passwords and tokens in clear",
        line="must begin with https://",
        is_met=_is_http,
    ),
    Danger(
        name="proxies",
        variable="AUTH_TRUSTED_PROXIES",
        what="Proxies in a network so wide (`0.0.0.0/0`, `::/0`) that anybody names the address that is throttled",
        line="must name the networks of the proxies alone",
        is_met=_trusts_everybody,
    ),
    Danger(
        name="served-by",
        variable="AUTH_SERVED_BY",
        what="`X-Served-By` in each answer: it tells what serves",
        line="must be off",
        is_met=lambda given: given.http.served_by,
    ),
    Danger(
        name="no-database",
        variable="AUTH_DATABASE_URL",
        what="No database: an SQLite file in the folder where it was started",
        line="must be set",
        is_met=lambda given: not given.database.url.get_secret_value(),
    ),
    Danger(
        name="clear-database",
        variable="AUTH_DATABASE_URL",
        what="PostgreSQL over a network without encryption: no `sslmode`, or one weaker than `require`; a Unix socket "
        "and this machine need none",
        line="must say sslmode=verify-full (or verify-ca, require)",
        is_met=_has_clear_database,
    ),
    Danger(
        name="no-smtp",
        variable="AUTH_SMTP_URL",
        what="No mail server, where mail leaves from here: it is kept in a folder",
        line="must be set, or AUTH_RELAY=false where mail leaves from another process,",
        is_met=lambda given: given.mail.smtp_url is None and given.mail.relay,
    ),
    Danger(
        name="smtp-password",
        variable="AUTH_SMTP_URL",
        what="A mail server elsewhere that is sent a password in clear",
        line="would send a password unencrypted: must be smtps:// or smtp+starttls://",
        is_met=_sends_password_in_clear,
    ),
    Danger(
        name="smtp",
        variable="AUTH_SMTP_URL",
        what="A mail server elsewhere that is sent letters in clear, with links that reset passwords",
        line="would send links unencrypted: must be smtps:// or smtp+starttls://",
        is_met=_sends_in_clear,
    ),
    Danger(
        name="bcrypt",
        variable="AUTH_PASSWORD_BCRYPT_COST",
        what="A bcrypt cost under 10",
        line="must be at least 10",
        is_met=_has_cheap_bcrypt,
    ),
    Danger(
        name="argon2",
        variable="AUTH_PASSWORD_ARGON2_MEMORY",
        what="argon2id under the floors of OWASP: 46 MiB and 1 pass, 19 and 2, 12 and 3, 9 and 4, or 7 and 5",
        line="must be at least 19456 with AUTH_PASSWORD_ARGON2_TIME=2",
        is_met=_has_cheap_argon2,
    ),
    Danger(
        name="password-grant",
        variable="AUTH_PASSWORD_GRANT",
        what="Tokens for a password at the token endpoint (RFC 9700 section 2.4)",
        line="must be off",
        is_met=lambda given: given.passwords.grant and "grant" in given.passwords.model_fields_set,
    ),
    Danger(
        name="key-propagation",
        variable="AUTH_TOKEN_KEY_PROPAGATION",
        what="Keys that sign before verifiers, which cache the key set for 300 seconds, have them",
        line="must be at least 360",
        is_met=lambda given: given.tokens.key_propagation < MIN_PROPAGATION,
    ),
    Danger(
        name="throttle",
        variable="AUTH_THROTTLE",
        what="No throttle: passwords are guessed as fast as they are hashed",
        line="must be on",
        is_met=lambda given: not given.throttling.throttle,
    ),
)
