"""A store in memory, for tests of the use cases. It passes the same contract as the SQL stores."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from core.audit.model import LONGEST_REQUEST, AuditEvent, EventKind
from core.clock import first_id
from core.mail.model import MAX_ERROR, Message, MessageKind, OneTimeToken, Purpose
from core.oauth.model import ClientSecret, RegisteredClient
from core.sessions.model import EndReason, Session
from core.throttling.model import Counter
from core.tokens.errors import KeyNumberTakenError
from core.tokens.model import Revocation, RevocationKind, SigningKey, hash_of
from core.users.errors import EmailTaken
from core.users.model import Account, User


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
    messages: dict[uuid.UUID, Message] = field(default_factory=dict)
    tokens: dict[uuid.UUID, OneTimeToken] = field(default_factory=dict)
    counters: dict[str, tuple[Counter, datetime]] = field(default_factory=dict)
    events: list[AuditEvent] = field(default_factory=list)

    def copy(self) -> "_Data":
        return replace(self, **{f.name: copy(getattr(self, f.name)) for f in fields(self)})


class MemoryUsers:
    """The `Users` port on dictionaries."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, account: Account, *, canonical_email: str) -> bool:
        """Store a new account; False where another one has this canonical address."""
        if canonical_email in self._data.addresses:
            return False
        self._data.addresses[canonical_email] = account.user.id
        self._data.accounts[account.user.id] = account
        return True

    def by_email(self, canonical_email: str) -> Account | None:
        """The account with this canonical address."""
        user_id = self._data.addresses.get(canonical_email)
        return None if user_id is None else self._data.accounts[user_id]

    def by_id(self, user_id: uuid.UUID) -> Account | None:
        """The account with this id."""
        return self._data.accounts.get(user_id)

    def lock_credentials(self, user_id: uuid.UUID, password_hash: str) -> User | None:
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
        return self._change(user_id, display_name=display_name, updated_at=at)

    def lock(self, user_id: uuid.UUID) -> User | None:
        """The user; the whole store is held anyway."""
        account = self.by_id(user_id)
        return None if account is None else account.user

    def recover(self, user_id: uuid.UUID, new_hash: str, *, at: datetime) -> User | None:
        """Set the hash of an active user, whose address is verified by that."""
        account = self.by_id(user_id)
        if account is None or not account.user.is_active:
            return None
        self._data.accounts[user_id] = replace(account, password_hash=new_hash)
        return self._change(user_id, email_verified=True, updated_at=at)

    def verify_email(self, user_id: uuid.UUID, *, at: datetime) -> User | None:
        """Mark the address of an active user as verified."""
        return self._change(user_id, email_verified=True, updated_at=at) if self._is_active(user_id) else None

    def set_email(self, user_id: uuid.UUID, address: str, *, canonical_email: str, at: datetime) -> User | None:
        """Set another, verified address of an active user."""
        if not self._is_active(user_id):
            return None
        if self._data.addresses.get(canonical_email, user_id) != user_id:
            raise EmailTaken
        user = self._change(user_id, email=address, email_verified=True, updated_at=at)
        if user is not None:
            self._forget_addresses(user_id)
            self._data.addresses[canonical_email] = user_id
        return user

    def remove(self, user_id: uuid.UUID) -> str | None:
        """Delete a user with sessions, messages and tokens. The canonical address that is free now."""
        if self._data.accounts.pop(user_id, None) is None:
            return None
        (address,) = [text for text, owner in self._data.addresses.items() if owner == user_id]
        del self._data.addresses[address]
        for belongings in (self._data.sessions, self._data.messages, self._data.tokens):
            for key in [key for key, value in belongings.items() if value.user_id == user_id]:
                del belongings[key]
        return address

    def _is_active(self, user_id: uuid.UUID) -> bool:
        account = self.by_id(user_id)
        return account is not None and account.user.is_active

    def _forget_addresses(self, user_id: uuid.UUID) -> None:
        self._data.addresses = {text: owner for text, owner in self._data.addresses.items() if owner != user_id}

    def _change(self, user_id: uuid.UUID, **changes: Any) -> User | None:
        account = self.by_id(user_id)
        if account is None:
            return None
        user = replace(account.user, **changes)
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

    def end(self, session_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime, reason: EndReason) -> bool:
        """End a live session of this user."""
        return bool(self._end([s for s in self.live_of(user_id, now=at) if s.id == session_id], at, reason))

    def end_all(
        self, user_id: uuid.UUID, *, at: datetime, reason: EndReason, keep: uuid.UUID | None = None
    ) -> list[uuid.UUID]:
        """End every live session of a user but ``keep``."""
        return self._end([s for s in self.live_of(user_id, now=at) if s.id != keep], at, reason)

    def end_surplus(self, user_id: uuid.UUID, *, limit: int, at: datetime) -> list[uuid.UUID]:
        """End the sessions idle longest until at most ``limit`` are live."""
        by_use = sorted(self.live_of(user_id, now=at), key=lambda s: (s.last_used_at, s.id), reverse=True)
        return self._end(by_use[limit:], at, EndReason.SESSION_LIMIT)

    def live_of(self, user_id: uuid.UUID, *, now: datetime) -> list[Session]:
        """The live sessions of a user, newest first."""
        return [session for session in self.of(user_id) if session.is_live(now)]

    def of(self, user_id: uuid.UUID) -> list[Session]:
        """The sessions of a user, ended or not, newest first."""
        found = [session for session in self._data.sessions.values() if session.user_id == user_id]
        return sorted(found, key=lambda s: (s.created_at, s.id), reverse=True)

    def purge(self, *, before: datetime, made_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` sessions that were made before one time and whose absolute end was before another."""
        made = first_id(made_before)
        old = [s.id for s in self._data.sessions.values() if s.id < made and s.expires_at < before][:limit]
        for session_id in old:
            del self._data.sessions[session_id]
        return len(old)

    def _end(self, sessions: list[Session], at: datetime, reason: EndReason) -> list[uuid.UUID]:
        for session in sessions:
            self._data.sessions[session.id] = replace(session, ended_at=at, end_reason=reason)
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

    def revokes(self, *, token_id: str, subject: str, issued_at: datetime, now: datetime) -> bool:
        """Whether an entry in force ends a token: by its id, or by its subject where it was issued before then."""
        hashes = {RevocationKind.TOKEN: hash_of(token_id), RevocationKind.SUBJECT: hash_of(subject)}
        return any(
            entry.value_hash == hashes.get(entry.kind)
            and (entry.not_before is None or entry.not_before > issued_at)
            and entry.expires_at > now
            for entry in self._data.revocations
        )

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired entries."""
        expired = [entry for entry in self._data.revocations if entry.expires_at <= now][:limit]
        for entry in expired:
            self._data.revocations.remove(entry)
            self._data.numbers.pop(entry.id, None)
        return len(expired)


class MemoryOutbox:
    """The `Outbox` port on dictionaries."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, message: Message) -> None:
        """Store a new message."""
        self._data.messages[message.id] = message

    def is_due(self, *, now: datetime) -> bool:
        """Whether an attempt is due."""
        return bool(self._due(now))

    def claim(self, *, now: datetime, lease: timedelta) -> Message | None:
        """Take the message that is due longest, for the time of the lease."""
        if not (due := self._due(now)):
            return None
        return self._change(due[0], due_at=now + lease, attempts=due[0].attempts + 1)

    def prepare(self, message_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime) -> bool:
        """Note that a message is for a user and may be sent; False where it was cancelled."""
        found = self._data.messages.get(message_id)
        if found is None:
            return False
        self._change(found, user_id=user_id, prepared_at=found.prepared_at or at)
        return True

    def prepared_since(self, user_id: uuid.UUID, kind: MessageKind, *, since: datetime, but: uuid.UUID) -> int:
        """How many messages of a kind were prepared for a user since then, but for one."""
        others = [found for found in self.of(user_id) if found.kind == kind and found.id != but]
        return sum(found.prepared_at is not None and found.prepared_at > since for found in others)

    def cancel(self, user_id: uuid.UUID, kind: MessageKind) -> None:
        """Forget the messages of a kind that are on their way to a user, or only name the address of that user."""
        for message in list(self._data.messages.values()):
            if self._is_for(user_id, message) and message.kind == kind and message.sent_at is None:
                self.remove(message.id)

    def _is_for(self, user_id: uuid.UUID, message: Message) -> bool:
        return user_id in (message.user_id, self._data.addresses.get(message.canonical_email or ""))

    def forget_address(self, canonical_email: str) -> None:
        """Forget the messages on their way that only name an address."""
        for message in list(self._data.messages.values()):
            if message.canonical_email == canonical_email:
                self.remove(message.id)

    def remove(self, message_id: uuid.UUID) -> None:
        """Forget a message."""
        self._data.messages.pop(message_id, None)

    def finish(self, message: Message, *, at: datetime) -> None:
        """Note that an attempt succeeded, and forget what is personal."""
        self._conclude(
            message, sent_at=at, due_at=None, canonical_email=None, address=None, facts={}, seed=b"", last_error=None
        )

    def postpone(self, message: Message, *, due_at: datetime, error: str) -> None:
        """Note that an attempt failed and when the next one is due."""
        self._conclude(message, due_at=due_at, last_error=error[:MAX_ERROR])

    def give_up(self, message: Message, *, at: datetime, error: str) -> None:
        """Note that an attempt failed and that no other follows."""
        self._conclude(message, due_at=None, dead_at=at, last_error=error[:MAX_ERROR])

    def failed(self) -> list[Message]:
        """The messages that were given up, oldest first."""
        given_up = [(found.dead_at, found.id, found) for found in self._data.messages.values() if found.dead_at]
        return [found for _, _, found in sorted(given_up)]

    def retry(self, message_id: uuid.UUID | None, *, at: datetime) -> int:
        """Let a message that was given up, or all of them, be tried anew."""
        revived = [found for found in self.failed() if message_id in (None, found.id)]
        for found in revived:
            self._change(found, dead_at=None, due_at=at, attempts=0)
        return len(revived)

    def of(self, user_id: uuid.UUID) -> list[Message]:
        """The messages of a user, and those on their way that only name the address, oldest first."""
        found = [message for message in self._data.messages.values() if self._is_for(user_id, message)]
        return sorted(found, key=lambda message: message.id)

    def purge(self, *, sent_before: datetime, dead_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` messages that were sent or given up before then."""
        old = [
            found.id
            for found in self._data.messages.values()
            if (found.sent_at and found.sent_at < sent_before) or (found.dead_at and found.dead_at < dead_before)
        ][:limit]
        for message_id in old:
            self.remove(message_id)
        return len(old)

    def _due(self, now: datetime) -> list[Message]:
        due = [(found.due_at, found.id, found) for found in self._data.messages.values() if found.due_at]
        return [found for at, _, found in sorted(due) if at <= now]

    def _conclude(self, message: Message, **changes: Any) -> None:
        found = self._data.messages.get(message.id)
        if found is not None and found.attempts == message.attempts and found.sent_at is None:
            self._change(found, **changes)

    def _change(self, message: Message, **changes: Any) -> Message:
        changed = replace(message, **changes)
        self._data.messages[message.id] = changed
        return changed


class MemoryOneTimeTokens:
    """The `OneTimeTokens` port on a dictionary."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def save(self, token: OneTimeToken) -> None:
        """Store a token, or the one of the same message anew."""
        self._data.tokens[token.id] = token

    def latest(self, user_id: uuid.UUID, purpose: Purpose) -> OneTimeToken | None:
        """The token of the newest message, ended or not."""
        return next((token for token in reversed(self.of(user_id)) if token.purpose == purpose), None)

    def by_id(self, message_id: uuid.UUID) -> OneTimeToken | None:
        """The token of a message, ended or not."""
        return self._data.tokens.get(message_id)

    def find(self, digest: bytes, purposes: Sequence[Purpose], *, now: datetime) -> OneTimeToken | None:
        """The token behind a digest that has neither ended nor expired."""
        found = (t for t in self._data.tokens.values() if t.digest == digest and t.purpose in purposes)
        return next((token for token in found if token.ended_at is None and token.expires_at > now), None)

    def use(self, token_id: uuid.UUID, *, at: datetime) -> bool:
        """End a token that has neither ended nor expired, and forget its address."""
        token = self._data.tokens.get(token_id)
        if token is None or token.ended_at is not None or token.expires_at <= at:
            return False
        self._data.tokens[token_id] = replace(token, ended_at=at, address="")
        return True

    def end_all(self, user_id: uuid.UUID, *, at: datetime, purpose: Purpose | None = None) -> None:
        """End every token of a user, or those of a purpose, and forget their addresses."""
        for token in self.of(user_id):
            if token.ended_at is None and purpose in (None, token.purpose):
                self._data.tokens[token.id] = replace(token, ended_at=at, address="")

    def of(self, user_id: uuid.UUID) -> list[OneTimeToken]:
        """The tokens of a user, oldest first."""
        return sorted((t for t in self._data.tokens.values() if t.user_id == user_id), key=lambda t: t.id)

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` tokens that have expired, but for those of users to whom a message may be sent."""
        waiting = {found.user_id for found in self._data.messages.values() if found.due_at or found.dead_at}
        expired = [token for token in self._data.tokens.values() if token.expires_at <= now]
        old = [token.id for token in expired if token.user_id not in waiting][:limit]
        for token_id in old:
            del self._data.tokens[token_id]
        return len(old)


class MemoryCounters:
    """The `Counters` port on a dictionary."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def lock(self, keys: Sequence[str], *, now: datetime) -> dict[str, Counter]:
        """The counters under these keys; the whole store is held anyway."""
        for key in keys:
            self._data.counters.setdefault(key, (Counter(count=0, at=now), now))
        return {key: self._data.counters[key][0] for key in keys}

    def read(self, keys: Sequence[str], *, now: datetime) -> dict[str, Counter]:
        """The counters under these keys as they stand."""
        new = Counter(count=0, at=now), now
        return {key: self._data.counters.get(key, new)[0] for key in keys}

    def save(self, key: str, counter: Counter, *, expires_at: datetime) -> None:
        """Store a counter that is held."""
        self._data.counters[key] = counter, expires_at

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` counters that say nothing any more."""
        old = [key for key, (_, expires_at) in self._data.counters.items() if expires_at < now][:limit]
        for key in old:
            del self._data.counters[key]
        return len(old)


class MemoryAuditLog:
    """The `AuditLog` port on a list."""

    def __init__(self, data: _Data) -> None:
        self._data = data

    def add(self, event: AuditEvent) -> None:
        """Append an event."""
        self._data.events.append(event)

    def of(self, user_id: uuid.UUID, *, limit: int) -> list[AuditEvent]:
        """The newest events of a user, oldest first."""
        return sorted((e for e in self._data.events if e.user_id == user_id), key=lambda e: e.id)[-limit:]

    def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events from before then."""
        old = [event for event in self._data.events if event.at < before][:limit]
        self._data.events = [event for event in self._data.events if event not in old]
        return len(old)

    def forget_addresses(self, user_id: uuid.UUID) -> None:
        """Remove the network addresses from the events of a user, and from those of the same requests."""
        own = [event for event in self._data.events if event.user_id == user_id and event.ip and event.request_id]
        self._data.events = [_forgotten(event, user_id, own) for event in self._data.events]


def _forgotten(event: AuditEvent, user_id: uuid.UUID, own: list[AuditEvent]) -> AuditEvent:
    if event.user_id == user_id:
        is_deletion = event.kind is EventKind.ACCOUNT_DELETED
        return replace(event, ip="", request_id=event.request_id if is_deletion else "")
    if event.user_id is None and event.kind is EventKind.THROTTLED and any(_is_of(event, other) for other in own):
        return replace(event, ip="")
    return event


def _is_of(throttled: AuditEvent, event: AuditEvent) -> bool:
    is_same = (throttled.ip, throttled.request_id) == (event.ip, event.request_id)
    return is_same and timedelta(0) <= event.at - throttled.at <= LONGEST_REQUEST


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
        self.outbox = MemoryOutbox(self._data)
        self.one_time_tokens = MemoryOneTimeTokens(self._data)
        self.counters = MemoryCounters(self._data)
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
