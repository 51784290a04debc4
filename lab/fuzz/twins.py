"""Two equal databases, one behind each door: the same users, sessions and keys, so that a request means the same.

A signup at one door changes what the other one answers, if both have one database. So each has a copy, and both copies
are brought back to the same beginning before each example: an SQLite file is copied, PostgreSQL's rows are put back.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from sqlalchemy import Table, event, select

from core.app import AuthApp
from core.mail.model import MessageKind
from core.mail.rendering import KIND_HEADER
from core.oauth.model import Credentials, TokenRequest
from core.origin import Origin
from core.sql_store import SqlStore, metadata
from tests.support.api import OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.databases import migrated_store
from tests.support.drivers import Answer, Driver, Headers
from tests.support.parity import Comparable, comparable

_JWT = re.compile(r"eyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]+")
_HASH = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])")
_LINK_TOKEN = re.compile(r"twm_[\w-]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_SECONDS = re.compile(r"""(["'](?:iat|exp|expires_in|refresh_expires_in)["']):\s?\d+""")


AUDIENCES = ("https://auth.example.com", "https://orders.example.com")
SCOPES = "orders:read orders:write"
"""Of everybody."""


@dataclass(frozen=True, repr=False)
class Known:
    """What a client may know of a furnished database; the same values hold in both copies."""

    emails: Sequence[str]
    passwords: Sequence[str]
    access_tokens: Sequence[str]
    """Live ones first, then one each of an ended session, of a deactivated user, of a client, and one expired."""
    refresh_tokens: Sequence[str]
    """Current ones, the one before it, one long replaced, and one of an ended session."""
    device_tokens: Sequence[str]
    session_ids: Sequence[str]
    links: Sequence[str]
    """Tokens in links: those that verify addresses first, those that reset passwords last."""
    undo_links: Sequence[str]
    """Tokens in links that undo a change of address."""
    clients: Sequence[tuple[str, str]]


class Letterbox:
    """A mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []

    def send(self, email: EmailMessage) -> None:
        self.letters.append(email)

    def close(self) -> None:
        """Nothing to give back."""

    def tokens(self, *kinds: MessageKind) -> list[str]:
        """The tokens in the letters of these kinds, oldest first."""
        letters = (letter for letter in self.letters if letter[KIND_HEADER] in kinds)
        texts = (str(part.get_content()) for letter in letters if (part := letter.get_body(("plain",))))
        return list(dict.fromkeys(token for text in texts for token in _LINK_TOKEN.findall(text)))


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    target: str
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    chunked: bool = False

    def at(self, driver: Driver) -> Answer:
        return driver.send(self.method, self.target, self.headers, self.body, chunked=self.chunked)


@dataclass(frozen=True)
class CountingDriver:
    """A driver that counts what was asked with success, and what without: whether a search has searched at all."""

    driver: Driver
    counts: Counter[tuple[str, bool]]

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        answer = self.driver.send(method, target, headers, body, chunked=chunked)
        self.counts[target.partition("?")[0], answer.status < 300] += 1
        return answer


@contextmanager
def quick_store(url: str) -> Iterator[SqlStore]:
    """A store that waits for no disk: what is searched for here is no loss of power, and there are many commits."""
    with migrated_store(url) as store:
        if store.engine.dialect.name == "sqlite":
            event.listen(store.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
            store.engine.dispose()
        yield store


@dataclass(frozen=True, repr=False)
class Twins:
    """Both doors, each before its own copy of a database."""

    flask: Driver
    fastapi: Driver
    known: Known
    restore: Callable[[], None]
    """Makes both copies the template's equal."""
    clock: FakeClock
    beginning: Any
    seen: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Which operations were answered how: what was searched at all."""

    def reset(self) -> None:
        """Bring both databases back to their beginning."""
        self.clock.at = self.beginning
        self.restore()

    def ask(self, asked: Asked) -> Answer:
        """Ask both doors the same, and insist on the same answer."""
        first, second = asked.at(self.flask), asked.at(self.fastapi)
        assert first.status < 500, f"flask: {first.status} {first.body!r}"
        assert second.status < 500, f"fastapi: {second.status} {second.body!r}"
        assert settled(first) == settled(second)
        self.seen[asked.method, asked.target.partition("?")[0], first.status] += 1
        return first


Rows = dict[Table, list[dict[str, Any]]]


def rows_of(store: SqlStore) -> Rows:
    """Everything that is stored."""
    with store.engine.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
        }


def put_back(rows: Rows, store: SqlStore) -> None:
    """Let nothing be stored but these."""
    with store.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for table in metadata.sorted_tables:
            if rows[table]:
                connection.execute(table.insert(), rows[table])


def copy_database(source: Path, target: Path) -> None:
    """Make one SQLite file the other's equal while servers have it open."""
    with closing(sqlite3.connect(source, timeout=10)) as reader, closing(sqlite3.connect(target, timeout=10)) as writer:
        writer.execute("PRAGMA synchronous=OFF")
        reader.backup(writer)


def settled(answer: Answer, *, by_the_clock: bool = False) -> Comparable:
    """What two answers must have in common, with the claims of tokens laid open.

    ``by_the_clock`` is for servers that read the machine's clock, each at its own moment.
    """
    text = _HASH.sub("<hash>", _JWT.sub(_claims, answer.body.decode("utf-8", "surrogateescape")))
    if by_the_clock:
        text = _SECONDS.sub(r"\1: 0", _TIME.sub("<time>", text))
    status, headers, body = comparable(replace(answer, body=text.encode("utf-8", "surrogateescape")))
    return status, headers, _in_order(body)


def _claims(match: re.Match[str]) -> str:
    part = match[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return json.dumps(claims).replace('"', "'")  # it stands in a JSON string


def _in_order(text: str) -> str:
    """An export, with what happened at one moment in one order: the ids that decide are random then."""
    if not text.startswith('{"exported_at"'):
        return text
    export = json.loads(text)
    for name in ("sessions", "messages", "links", "audit_events"):
        export[name].sort(key=lambda one: (one.get("at") or one.get("created_at"), one.get("kind"), str(one)))
    return json.dumps(export)


def furnish(auth: AuthApp, clock: FakeClock, letterbox: Letterbox) -> Known:
    """Fill an empty database: users in every state, tokens of every kind."""
    here = Origin(ip="127.0.0.1", user_agent="tests", request_id="f" * 32, languages="de, en;q=0.5")
    ann, ben, cyn = "ann@example.com", "ben@example.com", "cyn@example.com"
    for email, name in ((ann, "Ann"), (ben, None), (cyn, "Cyn ☃")):
        auth.accounts.sign_up(email, PASSWORD, name, here)
    expired = auth.authentication.login(ann, PASSWORD, here)
    clock.advance(hours=2)

    rotated = auth.authentication.login(ann, PASSWORD, here)
    generations = [rotated.refresh_token]
    for _ in range(3):
        clock.advance(seconds=60)
        generations.append(auth.sessions.refresh(generations[-1], here).refresh_token)
    second, other = auth.authentication.login(ann, PASSWORD, here), auth.authentication.login(ben, PASSWORD, here)
    ended, closed = auth.authentication.login(ben, PASSWORD, here), auth.authentication.login(cyn, PASSWORD, here)
    auth.sessions.logout(auth.sessions.whoami(ended.access_token), here)
    sessions = auth.sessions.live(auth.sessions.whoami(second.access_token))
    sessions += auth.sessions.live(auth.sessions.whoami(other.access_token))

    client, secret = auth.clients.create("bench", tuple(SCOPES.split()))
    disabled, its_secret = auth.clients.create("disabled", ())
    of_client = auth.token_endpoint.grant(
        TokenRequest(grant_type="client_credentials"), Credentials(client_id=client.id, secret=secret), here
    )
    auth.clients.set_active(disabled.id, is_active=False)

    for email in (ann, ben):
        auth.password_reset.request(email, here)
    auth.mail_worker.run_once()
    principal = auth.sessions.whoami(closed.access_token)
    auth.accounts.delete(principal, PASSWORD, here)
    links = tuple(letterbox.tokens(*MessageKind))
    _move(auth, letterbox, here)
    clock.advance(seconds=1)
    return Known(
        emails=(ann, ben, cyn, ann.upper(), "Ben@Example.Com"),
        passwords=(PASSWORD, OTHER_PASSWORD),
        access_tokens=(
            second.access_token,
            other.access_token,
            ended.access_token,
            closed.access_token,
            of_client.access_token,
            expired.access_token,
        ),
        refresh_tokens=(
            generations[3],
            second.refresh_token,
            other.refresh_token,
            generations[2],
            generations[0],
            ended.refresh_token,
        ),
        device_tokens=tuple(pair.device_token or "" for pair in (second, other)),
        session_ids=tuple(str(session.id) for session in sessions),
        links=links,
        undo_links=tuple(letterbox.tokens(MessageKind.EMAIL_CHANGED)),
        clients=((client.id, secret), (disabled.id, its_secret)),
    )


def _move(auth: AuthApp, letterbox: Letterbox, here: Origin) -> None:
    """Give a verified account another address, which its old one can undo."""
    old, new = "dan@example.com", "dan@example.org"
    auth.accounts.sign_up(old, PASSWORD, None, here)
    auth.mail_worker.run_once()
    auth.email_verification.verify(letterbox.tokens(MessageKind.EMAIL_VERIFICATION)[-1], here, password=PASSWORD)
    principal = auth.sessions.whoami(auth.authentication.login(old, PASSWORD, here).access_token)
    auth.email_verification.request_change(principal, new, PASSWORD, here)
    auth.mail_worker.run_once()
    auth.email_verification.verify(letterbox.tokens(MessageKind.EMAIL_CHANGE)[-1], here)
    auth.mail_worker.run_once()


AGE = timedelta(hours=2, minutes=5)
"""More than passes while a database is furnished."""
