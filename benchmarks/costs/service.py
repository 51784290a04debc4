"""The service that is measured: a filled database, and requests to its doors."""

from __future__ import annotations

import http.client
import json
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, text

from benchmarks.costs.filled import fill
from core.app import AuthApp, build
from core.authentication.passwords.hasher import PasswordHasher
from core.settings.groups import HttpSettings, PasswordSettings
from core.settings.whole import Settings
from core.sql_store import SqlStore
from tests.support.databases import migrated_store, postgres_url
from tests.support.postgres import own_postgres_server

SECRET = "0J5hQ2vXr8mWk4Ty7Lp1Nc6Bz9Ds3Fg0"  # noqa: S105 - for a database that is deleted at the end
PASSWORD = "correct horse battery"  # noqa: S105 - the same
ISSUER = "https://auth.example.com"


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a door."""

    method: str
    target: str
    body: dict[str, str] | None = None
    token: str | None = None

    def send(self, connection: http.client.HTTPConnection) -> None:
        """Send the request and read the answer; any error ends the run."""
        headers = {"Content-Type": "application/json", "X-Forwarded-For": self._address()}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        body = None if self.body is None else json.dumps(self.body)
        connection.request(self.method, self.target, body, headers)
        answer = connection.getresponse()
        text_of = answer.read()
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            raise RuntimeError(f"{self.method} {self.target}: {answer.status} {text_of!r}")

    def _address(self) -> str:
        """Return a network address for each account, the same each time, as users have."""
        seeded = random.Random(str(self.body and self.body.get("email")))  # noqa: S311 - no secret
        return f"203.{seeded.randrange(1, 255)}.{seeded.randrange(1, 255)}.{seeded.randrange(1, 255)}"


@dataclass(frozen=True, slots=True)
class FilledService:
    """A filled database, and a service in this process that makes tokens."""

    url: str
    store: SqlStore
    admin: Engine
    app: AuthApp
    emails: Sequence[str]
    sessions: list[uuid.UUID]
    """Random sessions, each for one use."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a door of this service."""
        return {
            "AUTH_ENV": "production",
            "AUTH_DATABASE_URL": self.url,
            "AUTH_SECRET_KEY": SECRET,
            "AUTH_PUBLIC_URL": ISSUER,
            "AUTH_RELAY": "false",
        }

    def tokens(self, count: int) -> list[tuple[str, str]]:
        """Make access and refresh tokens of random sessions."""
        made = []
        for _ in range(count):
            with self.store.reading() as read:
                found = read.sessions.with_user(self.sessions.pop())
            if found is None:
                raise RuntimeError("a session was deleted")
            pair = self.app.sessions.pair(*found, self.app.sessions._clock.now())  # noqa: SLF001
            made.append((pair.access_token, pair.refresh_token))
        return made

    def requests(self, operation: str, count: int) -> list[Request]:
        """Make requests for one operation."""
        match operation:
            case "whoami":
                return [Request("GET", "/v1/whoami", token=access) for access, _ in self.tokens(count)]
            case "refresh":
                pairs = self.tokens(count)
                return [Request("POST", "/v1/refresh", {"refresh_token": refresh}) for _, refresh in pairs]
            case "logout":
                return [Request("POST", "/v1/logout", token=access) for access, _ in self.tokens(count)]
            case "login":
                return [Request("POST", "/v1/login", _credentials(email)) for email in self.emails[:count]]
            case "signup":
                names = (f"{uuid.uuid4().hex[:12]}@example.com" for _ in range(count))
                return [Request("POST", "/v1/signup", _credentials(name)) for name in names]
            case _:
                with self.store.begin() as work:
                    work.revocations.number(limit=1000)
                    work.commit()
                with self.admin.connect() as connection:
                    head = connection.scalar(text("SELECT head FROM revocation_feed"))
                return [Request("GET", f"/v1/revocations?since={head}")] * count


def _credentials(email: str) -> dict[str, str]:
    return {"email": email, "password": PASSWORD}


@contextmanager
def filled_service(users: int) -> Iterator[FilledService]:
    """Fill a database on a new server."""
    settings = Settings(
        secret_key=SecretStr(SECRET), http=HttpSettings(public_url=ISSUER), passwords=PasswordSettings()
    )
    with own_postgres_server(durable=True) as server, postgres_url(server) as url, migrated_store(url) as store:
        admin = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        fill(admin, users, PasswordHasher(settings.passwords).hash(PASSWORD))
        app = build(settings, store=store)
        app.keys.ensure()
        with admin.connect() as connection:
            emails = connection.scalars(text("SELECT email FROM users ORDER BY random() LIMIT 200")).all()
            sessions = list(connection.scalars(text("SELECT id FROM sessions ORDER BY random() LIMIT 12000")))
        try:
            yield FilledService(url, store, admin, app, emails, sessions)
        finally:
            admin.dispose()
