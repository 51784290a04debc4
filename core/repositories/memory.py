"""A store in memory, for tests of the use cases. It passes the same contract as the SQL stores."""

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from core.audit import AuditEvent
from core.clients import ClientSecret, RegisteredClient
from core.errors import EmailTaken
from core.keys import KeyNumberTakenError, SigningKey
from core.revocations import Revocation, RevocationKind
from core.sessions import EndReason, Session
from core.users import Account, User


@dataclass
class _Data:
    accounts: dict[uuid.UUID, Account] = field(default_factory=dict)
    addresses: dict[str, uuid.UUID] = field(default_factory=dict)
    sessions: dict[uuid.UUID, Session] = field(default_factory=dict)
    keys: dict[int, SigningKey] = field(default_factory=dict)
    clients: dict[str, RegisteredClient] = field(default_factory=dict)
    secrets: list[ClientSecret] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    numbers: dict[uuid.UUID, int] = field(default_factory=dict)
    head: int = 0
    events: list[AuditEvent] = field(default_factory=list)

    def copy(self) -> "_Data":
        return replace(self, **{f.name: copy(getattr(self, f.name)) for f in fields(self)})


class MemoryUsers:
    """The `Users` port on dictionaries."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, account: Account, *, canonical_email: str) -> None:
        """Store a new account."""
        if canonical_email in self._data.addresses:
            raise EmailTaken
        self._data.addresses[canonical_email] = account.user.id
        self._data.accounts[account.user.id] = account

    def by_email(self, canonical_email: str) -> Account | None:
        """The account with this canonical address."""
        user_id = self._data.addresses.get(canonical_email)
        return None if user_id is None else self._data.accounts[user_id]

    def by_id(self, user_id: uuid.UUID) -> Account | None:
        """The account with this id."""
        return self._data.accounts.get(user_id)

    def hold_credentials(self, user_id: uuid.UUID, password_hash: str) -> User | None:
        """The active user, if the hash is still this one."""
        account = self.by_id(user_id)
        if account is None or account.password_hash != password_hash or not account.user.is_active:
            return None
        return account.user

    def replace_password(self, user_id: uuid.UUID, *, old_hash: str, new_hash: str, at: datetime) -> bool:
        """Set the hash if it is still ``old_hash``."""
        account = self.by_id(user_id)
        if account is None or account.password_hash != old_hash:
            return False
        user = replace(account.user, updated_at=at)
        self._data.accounts[user_id] = replace(account, user=user, password_hash=new_hash)
        return True

    def set_display_name(self, user_id: uuid.UUID, display_name: str | None, *, at: datetime) -> User | None:
        """Set the name and give the user as it is now."""
        account = self.by_id(user_id)
        if account is None:
            return None
        user = replace(account.user, display_name=display_name, updated_at=at)
        self._data.accounts[user_id] = replace(account, user=user)
        return user


class MemorySessions:
    """The `Sessions` port on dictionaries."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, session: Session) -> None:
        """Store a new session."""
        self._data.sessions[session.id] = session

    def with_user(self, session_id: uuid.UUID) -> tuple[Session, User] | None:
        """A session, ended or not, with its user."""
        session = self._data.sessions.get(session_id)
        return None if session is None else (session, self._data.accounts[session.user_id].user)

    def principal(self, session_id: uuid.UUID, user_id: uuid.UUID, *, now: datetime) -> User | None:
        """The active user of a session that is live."""
        session = self._data.sessions.get(session_id)
        if session is None or session.user_id != user_id or not session.is_live(now):
            return None
        user = self._data.accounts[user_id].user
        return user if user.is_active else None

    def advance(self, session_id: uuid.UUID, *, generation: int, at: datetime, idle_expires_at: datetime) -> bool:
        """Move a session that has not ended from ``generation`` to the next."""
        session = self._data.sessions.get(session_id)
        if session is None or session.generation != generation or session.ended_at is not None:
            return False
        self._data.sessions[session_id] = replace(
            session, generation=generation + 1, last_used_at=at, idle_expires_at=idle_expires_at
        )
        return True

    def end(self, session_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime, reason: EndReason) -> bool:  # noqa: ARG002
        """End a live session of this user."""
        return bool(self._end([s for s in self.live_of(user_id, now=at) if s.id == session_id], at))

    def end_all(
        self,
        user_id: uuid.UUID,
        *,
        at: datetime,
        reason: EndReason,  # noqa: ARG002
        keep: uuid.UUID | None = None,
    ) -> list[uuid.UUID]:
        """End every live session of a user but ``keep``."""
        return self._end([s for s in self.live_of(user_id, now=at) if s.id != keep], at)

    def end_surplus(self, user_id: uuid.UUID, *, limit: int, at: datetime) -> list[uuid.UUID]:
        """End the sessions idle longest until at most ``limit`` are live."""
        by_use = sorted(self.live_of(user_id, now=at), key=lambda s: (s.last_used_at, s.id), reverse=True)
        return self._end(by_use[limit:], at)

    def live_of(self, user_id: uuid.UUID, *, now: datetime) -> list[Session]:
        """The live sessions of a user, newest first."""
        live = [s for s in self._data.sessions.values() if s.user_id == user_id and s.is_live(now)]
        return sorted(live, key=lambda s: (s.created_at, s.id), reverse=True)

    def _end(self, sessions: list[Session], at: datetime) -> list[uuid.UUID]:
        for session in sessions:
            self._data.sessions[session.id] = replace(session, ended_at=at)
        return [session.id for session in sessions]


class MemoryKeys:
    """The `Keys` port on dictionaries."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def all(self) -> list[SigningKey]:
        """Every key, oldest first."""
        return [self._data.keys[number] for number in sorted(self._data.keys)]

    def add(self, key: SigningKey) -> None:
        """Store a new key."""
        if key.number in self._data.keys:
            raise KeyNumberTakenError
        self._data.keys[key.number] = key

    def replace_sealed(self, kid: str, sealed_private_key: bytes) -> None:
        """Store the private key as it is sealed now."""
        for number, key in self._data.keys.items():
            if key.kid == kid:
                self._data.keys[number] = replace(key, sealed_private_key=sealed_private_key)

    def remove(self, kid: str) -> None:
        """Forget a key."""
        self._data.keys = {number: key for number, key in self._data.keys.items() if key.kid != kid}


class MemoryClients:
    """The `Clients` port on dictionaries."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, client: RegisteredClient) -> None:
        """Store a new client."""
        self._data.clients[client.id] = client

    def all(self) -> list[RegisteredClient]:
        """Every client, oldest first."""
        return sorted(self._data.clients.values(), key=lambda client: (client.created_at, client.id))

    def by_id(self, client_id: str) -> RegisteredClient | None:
        """The client with this id."""
        return self._data.clients.get(client_id)

    def set_active(self, client_id: str, *, is_active: bool) -> bool:
        """Enable or disable a client."""
        return self._change(client_id, is_active=is_active)

    def touch(self, client_id: str, *, at: datetime) -> None:
        """Note that it was used."""
        self._change(client_id, last_used_at=at)

    def add_secret(self, secret: ClientSecret) -> None:
        """Store a new secret."""
        self._data.secrets.append(secret)

    def secrets_of(self, client_id: str, *, now: datetime) -> list[ClientSecret]:
        """The secrets of a client that have not expired."""
        return [
            secret
            for secret in self._data.secrets
            if secret.client_id == client_id and (secret.expires_at is None or secret.expires_at > now)
        ]

    def expire_secrets(self, client_id: str, *, at: datetime) -> None:
        """Let every secret end at ``at``, or where it ends before, there."""
        ending = self.secrets_of(client_id, now=at)
        kept = [secret for secret in self._data.secrets if secret not in ending]
        self._data.secrets = [*kept, *(replace(secret, expires_at=at) for secret in ending)]

    def _change(self, client_id: str, **changes: Any) -> bool:
        client = self.by_id(client_id)
        if client is None:
            return False
        self._data.clients[client_id] = replace(client, **changes)
        return True


class MemoryRevocations:
    """The `Revocations` port on a list."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, entries: Iterable[Revocation]) -> None:
        """Store new entries, not yet numbered."""
        self._data.revocations.extend(entries)

    def has_unnumbered(self) -> bool:
        """Whether entries wait for their number."""
        return len(self._data.numbers) < len(self._data.revocations)

    def number(self, *, limit: int) -> int:
        """Number committed entries."""
        waiting = sorted(entry.id for entry in self._data.revocations if entry.id not in self._data.numbers)[:limit]
        for entry in waiting:
            self._data.head += 1
            self._data.numbers[entry] = self._data.head
        return len(waiting)

    def after(self, number: int, *, now: datetime, limit: int) -> tuple[list[Revocation], int]:
        """The entries behind a number that have not expired, in order, and the number of the last one."""
        numbers = self._data.numbers
        found = [e for e in self._data.revocations if numbers.get(e.id, 0) > number and e.expires_at > now]
        found = sorted(found, key=lambda entry: numbers[entry.id])[:limit]
        return found, numbers[found[-1].id] if found else number

    def contains(self, kind: RevocationKind, value_hash: str, *, now: datetime) -> bool:
        """Whether an entry of this kind and value is in force."""
        return any(
            entry.kind == kind and entry.value_hash == value_hash and entry.expires_at > now
            for entry in self._data.revocations
        )

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired entries."""
        expired = [entry for entry in self._data.revocations if entry.expires_at <= now][:limit]
        for entry in expired:
            self._data.revocations.remove(entry)
            self._data.numbers.pop(entry.id, None)
        return len(expired)


class MemoryAuditLog:
    """The `AuditLog` port on a list."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, event: AuditEvent) -> None:
        """Append an event."""
        self._data.events.append(event)


class MemoryUnitOfWork:
    """The ports on a copy of the data, which `commit` puts in its place."""

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self._data = store.data.copy()
        self.users = MemoryUsers(self._data)
        self.sessions = MemorySessions(self._data)
        self.keys = MemoryKeys(self._data)
        self.clients = MemoryClients(self._data)
        self.revocations = MemoryRevocations(self._data)
        self.audit = MemoryAuditLog(self._data)

    def commit(self) -> None:
        """Make everything so far durable."""
        self._store.data = self._data.copy()


class MemoryStore:
    """The `Store` in memory: one unit of work at a time."""

    def __init__(self) -> None:
        self.data = _Data()
        self._lock = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[MemoryUnitOfWork]:
        """Open a transaction; leaving it without `commit` undoes it."""
        with self._lock:
            yield MemoryUnitOfWork(self)

    @contextmanager
    def reading(self) -> Iterator[MemoryUnitOfWork]:
        """Open for single reads."""
        yield MemoryUnitOfWork(self)

    def check(self) -> None:
        """Always ready."""

    def close(self) -> None:
        """Nothing to give back."""
