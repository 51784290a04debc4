"""Every method of every repository, called once: what the service says to a database, and nothing else does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, event

from core.audit.model import EventKind
from core.clock import first_id, new_id
from core.mail.model import MessageKind, Purpose
from core.oauth.model import ClientSecret, RegisteredClient
from core.sessions.model import EndReason
from core.sql_store import SqlUnitOfWork
from core.throttling.model import Counter
from core.tokens.model import Revocation, RevocationKind
from tests.support.values import HASH, NOW, account, audit_event, device, email_token, key, message, session

LATER = NOW + timedelta(days=1000)
ANN = account("ann@reviewed.example")
ANNS = ANN.user.id
LOGIN = session(ANNS)
TOKEN = email_token(ANNS)
LAPTOP = device(ANNS)
LETTER = message(MessageKind.PASSWORD_RESET, user_id=ANNS)
CLIENT = RegisteredClient(
    id="reviewed", name="Orders", scopes=("a",), is_active=True, created_at=NOW, last_used_at=None
)  # fmt: skip


def _revocation() -> Revocation:
    return Revocation(
        id=new_id(NOW), kind=RevocationKind.SESSION, value_hash="x" * 43, not_before=None, expires_at=LATER
    )


def arrange(work: SqlUnitOfWork) -> None:
    """Put in what the calls below find; it is undone with them."""
    work.users.add(ANN, canonical_email=ANN.user.email)
    work.sessions.add(LOGIN)
    work.devices.add(LAPTOP)
    work.outbox.add(LETTER)
    work.one_time_tokens.save(TOKEN)
    work.audit.add(audit_event(EventKind.LOGIN_FAILED, user_id=ANNS))
    work.audit.add(audit_event(EventKind.THROTTLED, user_id=None))
    work.clients.add(CLIENT)
    work.counters.lock(["reviewed"], now=NOW)
    work.revocations.add([_revocation(), _revocation()])


CALLS: dict[str, Callable[[SqlUnitOfWork], object]] = {
    "users.add": lambda work: work.users.add(account("bob@reviewed.example"), canonical_email="bob@reviewed.example"),
    "users.by_email": lambda work: work.users.by_email(ANN.user.email),
    "users.by_id": lambda work: work.users.by_id(ANNS),
    "users.lock_credentials": lambda work: work.users.lock_credentials(ANNS, HASH),
    "users.lock": lambda work: work.users.lock(ANNS),
    "users.replace_password": lambda work: work.users.replace_password(ANNS, old_hash=HASH, new_hash="new", at=NOW),
    "users.set_display_name": lambda work: work.users.set_display_name(ANNS, "Anna", at=NOW),
    "users.reset_password": lambda work: work.users.reset_password(ANNS, "new", at=NOW),
    "users.verify_email": lambda work: work.users.verify_email(ANNS, at=NOW),
    "users.set_email": lambda work: work.users.set_email(ANNS, "a@b.example", canonical_email="a@b.example", at=NOW),
    "users.mark_deleted": lambda work: work.users.mark_deleted(ANNS, at=NOW),
    "users.next_deleted": lambda work: work.users.next_deleted(),
    "users.note_erased": lambda work: work.users.note_erased(ANNS, until=ANNS),
    "users.restore_email": lambda work: work.users.restore_email(
        ANNS, "b@c.example", canonical_email="b@c.example", at=NOW
    ),
    "users.remove": lambda work: work.users.remove(ANNS),
    "unverified_accounts.enrol": lambda work: work.unverified_accounts.enrol(review_at=LATER, limit=500),
    "unverified_accounts.due": lambda work: work.unverified_accounts.due(now=NOW, limit=50),
    "unverified_accounts.unused": lambda work: work.unverified_accounts.unused([ANNS], since=NOW, now=NOW),
    "unverified_accounts.postpone": lambda work: work.unverified_accounts.postpone([ANNS], until=LATER),
    "sessions.add": lambda work: work.sessions.add(session(ANNS)),
    "sessions.with_user": lambda work: work.sessions.with_user(LOGIN.id),
    "sessions.principal": lambda work: work.sessions.principal(LOGIN.id, ANNS, now=NOW),
    "sessions.advance": lambda work: work.sessions.advance(LOGIN.id, generation=0, at=NOW, idle_expires_at=LATER),
    "sessions.end": lambda work: work.sessions.end(LOGIN.id, user_id=ANNS, at=NOW, reason=EndReason.LOGOUT),
    "sessions.end_all": lambda work: work.sessions.end_all(ANNS, at=NOW, reason=EndReason.LOGOUT, keep=LOGIN.id),
    "sessions.end_next": lambda work: work.sessions.end_next(
        first_id(NOW), at=NOW, reason=EndReason.REVOKED, limit=500
    ),
    "sessions.end_surplus": lambda work: work.sessions.end_surplus(ANNS, limit=99, at=NOW),
    "sessions.live_of": lambda work: work.sessions.live_of(ANNS, now=NOW),
    "sessions.end_marked": lambda work: work.sessions.end_marked(limit=500),
    "sessions.erase": lambda work: work.sessions.erase(ANNS, limit=500),
    "sessions.of": lambda work: work.sessions.of(ANNS),
    "sessions.purge": lambda work: work.sessions.purge(
        before=NOW - timedelta(days=7), made_before=NOW - timedelta(days=97), limit=500
    ),
    "devices.add": lambda work: work.devices.add(device(ANNS)),
    "devices.of_account": lambda work: work.devices.of_account(LAPTOP.id, ANN.user.email, now=NOW),
    "devices.use": lambda work: work.devices.use(LAPTOP),
    "devices.forget_surplus": lambda work: work.devices.forget_surplus(ANNS, limit=0),
    "devices.forget_all": lambda work: work.devices.forget_all(ANNS, keep_session=LOGIN.id),
    "devices.of": lambda work: work.devices.of(ANNS),
    "devices.erase": lambda work: work.devices.erase(ANNS, limit=500),
    "devices.purge": lambda work: work.devices.purge(now=LATER, limit=500),
    "keys.all": lambda work: work.keys.all(),
    "keys.add": lambda work: work.keys.add(key(77)),
    "keys.replace_sealed": lambda work: work.keys.replace_sealed("kid-77", b"sealed"),
    "keys.activate": lambda work: work.keys.activate("kid-77", at=NOW),
    "keys.remove": lambda work: work.keys.remove("kid-77"),
    "clients.add": lambda work: work.clients.add(
        RegisteredClient(id="other", name="x", scopes=(), is_active=True, created_at=NOW, last_used_at=None)
    ),
    "clients.all": lambda work: work.clients.all(),
    "clients.by_id": lambda work: work.clients.by_id(CLIENT.id),
    "clients.set_active": lambda work: work.clients.set_active(CLIENT.id, is_active=False),
    "clients.touch": lambda work: work.clients.touch(CLIENT.id, at=NOW),
    "clients.add_secret": lambda work: work.clients.add_secret(
        ClientSecret(client_id=CLIENT.id, digest=bytes(32), created_at=NOW, expires_at=None)
    ),
    "clients.secrets_of": lambda work: work.clients.secrets_of(CLIENT.id, now=NOW),
    "clients.expire_secrets": lambda work: work.clients.expire_secrets(CLIENT.id, at=NOW),
    "revocations.add": lambda work: work.revocations.add([_revocation(), _revocation()]),
    "revocations.has_unnumbered": lambda work: work.revocations.has_unnumbered(),
    "revocations.newest": lambda work: work.revocations.newest(),
    "revocations.number": lambda work: work.revocations.number(limit=100),
    "revocations.after": lambda work: work.revocations.after(None, now=NOW, limit=100),
    "revocations.revokes": lambda work: work.revocations.revokes(token_id="a", subject="b", issued_at=NOW, now=NOW),
    "revocations.purge": lambda work: work.revocations.purge(now=NOW, limit=500),
    "outbox.add": lambda work: work.outbox.add(message()),
    "outbox.is_due": lambda work: work.outbox.is_due(now=NOW),
    "outbox.claim": lambda work: work.outbox.claim(now=NOW, lease=timedelta(minutes=2)),
    "outbox.prepare": lambda work: work.outbox.prepare(LETTER.id, user_id=ANNS, at=NOW),
    "outbox.prepared_since": lambda work: work.outbox.prepared_since(
        ANNS, LETTER.kind, since=NOW, until=NOW, excluding=LETTER.id
    ),
    "outbox.cancel": lambda work: work.outbox.cancel(ANNS, LETTER.kind, after=LETTER.id),
    "outbox.forget_address": lambda work: work.outbox.forget_address("ann@reviewed.example"),
    "outbox.remove": lambda work: work.outbox.remove(LETTER.id),
    "outbox.finish": lambda work: work.outbox.finish(LETTER, at=NOW),
    "outbox.postpone": lambda work: work.outbox.postpone(LETTER, due_at=LATER, error="busy"),
    "outbox.give_up": lambda work: work.outbox.give_up(LETTER, at=NOW, error="refused"),
    "outbox.failed": lambda work: work.outbox.failed(),
    "outbox.retry": lambda work: work.outbox.retry(LETTER.id, at=NOW),
    "outbox.of": lambda work: work.outbox.of(ANNS),
    "outbox.erase": lambda work: work.outbox.erase(ANNS, limit=500),
    "outbox.purge": lambda work: work.outbox.purge(
        sent_before=NOW - timedelta(days=1), dead_before=NOW - timedelta(days=30), limit=500
    ),
    "one_time_tokens.save": lambda work: work.one_time_tokens.save(email_token(ANNS)),
    "one_time_tokens.latest": lambda work: work.one_time_tokens.latest(ANNS, TOKEN.purpose, until=LATER),
    "one_time_tokens.by_id": lambda work: work.one_time_tokens.by_id(TOKEN.id),
    "one_time_tokens.find": lambda work: work.one_time_tokens.find(TOKEN.digest, list(Purpose), now=NOW),
    "one_time_tokens.use": lambda work: work.one_time_tokens.use(TOKEN.id, at=NOW),
    "one_time_tokens.end_some": lambda work: work.one_time_tokens.end_some(at=NOW, limit=500),
    "one_time_tokens.end_all": lambda work: work.one_time_tokens.end_all(
        ANNS, at=NOW, purposes=[TOKEN.purpose], keep=LETTER.id, after=TOKEN.id
    ),
    "one_time_tokens.of": lambda work: work.one_time_tokens.of(ANNS),
    "one_time_tokens.erase": lambda work: work.one_time_tokens.erase(ANNS, limit=500),
    # As few have expired as it finds every minute.
    "one_time_tokens.purge": lambda work: work.one_time_tokens.purge(now=NOW - timedelta(days=31), limit=500),
    "counters.lock": lambda work: work.counters.lock(["a", "b", "c"], now=NOW),
    "counters.read": lambda work: work.counters.read(["reviewed", "b", "c"], now=NOW),
    "counters.save": lambda work: work.counters.save("reviewed", Counter(count=1, at=NOW), expires_at=LATER),
    "counters.purge": lambda work: work.counters.purge(now=NOW + timedelta(seconds=1), limit=500),
    "audit.add": lambda work: work.audit.add(audit_event()),
    "audit.of": lambda work: work.audit.of(ANNS, limit=100),
    "audit.purge": lambda work: work.audit.purge(before=NOW - timedelta(days=400), limit=500),
    "audit.forget_addresses": lambda work: work.audit.forget_addresses(ANNS, after=None, limit=500),
}


def methods(work: SqlUnitOfWork) -> set[str]:
    """The public methods of the repositories, by name."""
    repositories = {name: found for name, found in vars(work).items() if not name.startswith("_")}
    return {
        f"{name}.{method}"
        for name, repository in repositories.items()
        for method, _ in inspect.getmembers(type(repository), inspect.isfunction)
        if not method.startswith("_")
    }


@dataclass(frozen=True, slots=True)
class Statement:
    """What a driver was given."""

    text: str
    is_many: bool = False
    """Several executions at once: the driver sends them in a pipeline."""

    @property
    def specials(self) -> frozenset[str]:
        """What in it an engine may not know, or may understand in another way."""
        found = {name for name, pattern in SPECIALS.items() if re.search(pattern, self.text)}
        return frozenset(found | ({"pipeline"} if self.is_many else set()))

    @property
    def shape(self) -> tuple[str, str, frozenset[str]]:
        """What it does to which table first, and what is special about it, whether it is one or many."""
        verb = self.text.split()[0]
        table = re.search(r"(?:FROM|INTO|UPDATE) (\w+)", self.text)
        return verb, table[1] if table else "", self.specials - {"pipeline"}


SPECIALS = {
    "FOR UPDATE": r"FOR UPDATE",
    "FOR NO KEY UPDATE": r"FOR NO KEY UPDATE",
    "FOR SHARE": r"FOR (KEY )?SHARE",
    "SKIP LOCKED": r"SKIP LOCKED",
    "NOWAIT": r"NOWAIT",
    "ON CONFLICT DO NOTHING": r"ON CONFLICT \([^)]*\) DO NOTHING",
    "ON CONFLICT DO UPDATE": r"ON CONFLICT \([^)]*\) DO UPDATE",
    "RETURNING": r"RETURNING",
    "sub-select": r"(IN|=) \(\s*SELECT",
    "order of ids": r"\.id (<|>) ",
    "JSON": r"::JSON|\bJSON\b",
    "advisory lock": r"pg_\w*advisory",
    "SET LOCAL": r"SET LOCAL",
    "sequence": r"nextval|SERIAL|IDENTITY",
    "DDL": r"^\s*(CREATE|ALTER|DROP) ",
    "cascade": r"ON DELETE CASCADE|DELETE FROM (users|clients)\b",
    "collation or type of its own": r"COLLATE|CITEXT|CREATE TYPE|CREATE EXTENSION",
    "clock of the server": r"\bnow\(\)|CURRENT_TIMESTAMP|clock_timestamp",
    "window, CTE or set": r"\bOVER\b|^\s*WITH|\bUNION\b",
    "LISTEN or NOTIFY": r"LISTEN|NOTIFY",
    "temporary table or cursor": r"TEMP|DECLARE",
}


@contextmanager
def noted(engine: Engine) -> Iterator[list[Statement]]:
    """Every statement that is given to the driver meanwhile."""
    seen: list[Statement] = []

    def note(_connection: Connection, _cursor: Any, text: str, _values: Any, _context: Any, is_many: bool) -> None:  # noqa: FBT001
        seen.append(Statement(text, is_many))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
