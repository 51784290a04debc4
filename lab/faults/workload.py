"""Many users at once at both doors, each operation of whom is taken down in a record."""

from __future__ import annotations

import base64
import http.client
import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import jwt
from sqlalchemy import select

from core.authentication.passwords.hasher import PasswordHasher
from core.errors import AuthError
from core.mail.model import MessageKind
from core.mail.sql import outbox
from core.sessions.sql import sessions
from core.settings.groups import DatabaseSettings, PasswordSettings
from core.sql_store import open_store
from core.users.addresses import parse_email
from core.users.sql import users
from lab.faults.history import Kind, Operation, Outcome, Record, Remains, StoredAccount, StoredSession
from lab.faults.postman import Link, Postman
from tests.support.api import Api
from tests.support.drivers import Answer

USERS = 8  # threads; no more than the machine serves in good time
ADDRESSES = 6  # that are in use at once, so that the users meet
REFUSALS = (400, 401, 403, 409)
PAUSE_WHEN_AWAY = 0.05  # seconds; a client that is told so does not try as fast as it can

Ask = Callable[[Api], Answer]


@dataclass(eq=False)
class Login:
    """A session as its holder knows it."""

    account: Account
    user: uuid.UUID
    session: uuid.UUID
    access_token: str
    refresh_tokens: list[str]
    """By generation."""
    is_over: bool = False


@dataclass(eq=False)
class Account:
    """An address that somebody uses, with the passwords that it may have."""

    address: str
    passwords: list[str] = field(default_factory=list)
    current: str = ""
    """The last one that was right."""
    logins: list[Login] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    """That reset the password, or did; the newest one comes last."""

    @property
    def canonical(self) -> str:
        return parse_email(self.address).canonical

    def learn(self, operation: Operation, password: str) -> None:
        """Note a password that was set, or may have been."""
        if operation.may_have_happened:
            self.passwords.append(password)
        if operation.is_ok:
            self.current = password


class Service:
    """Sends operations to the doors and takes down what became of them."""

    def __init__(self, doors: Sequence[Api], record: Record, postman: Postman | None = None) -> None:
        self.doors = doors
        self.record = record
        self.postman = postman
        """Without one, links are asked for and never come."""

    def signup(self, door: Api, account: Account, password: str) -> Operation:
        body = {"email": account.address, "password": password}
        operation = self.record.invoke(Kind.SIGNUP, address=account.canonical, password=password)
        answer = _ask(operation, lambda: door.post("/v1/signup", body))
        if answer is not None:
            operation.user = uuid.UUID(answer.json["id"])
            operation.settle(Outcome.OK, answer.status)
        account.learn(operation, password)
        return operation

    def login(self, door: Api, account: Account, password: str) -> Login | None:
        body = {"email": account.address, "password": password}
        operation = self.record.invoke(Kind.LOGIN, address=account.canonical, password=password)
        answer = _ask(operation, lambda: door.post("/v1/login", body))
        if answer is None:
            return None
        claims = jwt.decode(answer.json["access_token"], options={"verify_signature": False})
        token = answer.json["refresh_token"]
        operation.user, operation.token = uuid.UUID(claims["sub"]), token
        operation.session, operation.given = _contents(token)
        operation.settle(Outcome.OK, answer.status)
        made = Login(account, operation.user, operation.session, answer.json["access_token"], [token])
        account.logins.append(made)
        account.current = password
        return made

    def refresh(self, door: Api, login: Login, generation: int) -> Operation:
        token = login.refresh_tokens[generation]
        operation = self.record.invoke(
            Kind.REFRESH, user=login.user, session=login.session, presented=_contents(token)[1]
        )
        answer = _ask(operation, lambda: door.refresh(token))
        if answer is not None:
            operation.token = answer.json["refresh_token"]
            _, operation.given = _contents(operation.token)
            operation.settle(Outcome.OK, answer.status)
            login.access_token = answer.json["access_token"]
            if len(login.refresh_tokens) == operation.given:
                login.refresh_tokens.append(operation.token)
        if operation.status == 401:
            login.is_over = True
        return operation

    def by_token(
        self, door: Api, kind: Kind, login: Login, ask: Callable[[Api, str], Answer], **known: str
    ) -> Operation:
        token = login.access_token
        operation = self.record.invoke(
            kind, user=login.user, session=login.session, address=login.account.canonical, **known
        )
        answer = _ask(operation, lambda: ask(door, token))
        if answer is not None:
            if kind == Kind.WHOAMI:
                assert answer.json["id"] == str(login.user)
            operation.settle(Outcome.OK, answer.status)
        if operation.status == 401:
            login.is_over = True
        return operation

    def whoami(self, door: Api, login: Login) -> None:
        self.by_token(door, Kind.WHOAMI, login, lambda api, token: api.whoami(token))

    def logout(self, door: Api, login: Login) -> Operation:
        return self.by_token(door, Kind.LOGOUT, login, lambda api, token: api.post("/v1/logout", token=token))

    def end_sessions(self, door: Api, login: Login, *, keep_current: bool) -> None:
        kind = Kind.END_OTHER_SESSIONS if keep_current else Kind.END_SESSIONS
        target = "/v1/sessions?keep_current=true" if keep_current else "/v1/sessions"
        self.by_token(door, kind, login, lambda api, token: api.delete(target, token=token))

    def change_password(self, door: Api, login: Login, old: str, new: str) -> Operation:
        body = {"current_password": old, "new_password": new}
        operation = self.by_token(
            door,
            Kind.CHANGE_PASSWORD,
            login,
            lambda api, token: api.post("/v1/account/password", body, token=token),
            password=old,
            new_password=new,
        )
        login.account.learn(operation, new)
        return operation

    def delete(self, door: Api, login: Login, password: str) -> None:
        body = {"current_password": password}
        self.by_token(
            door,
            Kind.DELETE_ACCOUNT,
            login,
            lambda api, token: api.post("/v1/account/delete", body, token=token),
            password=password,
        )

    def request_reset(self, door: Api, account: Account) -> None:
        operation = self.record.invoke(Kind.REQUEST_RESET, address=account.canonical)
        answer = _ask(operation, lambda: door.post("/v1/send-password-reset", {"email": account.address}))
        if answer is not None:
            operation.settle(Outcome.OK, answer.status)

    def bring_link(self, account: Account) -> None:
        """Let the owner of the address have the link of the newest letter, where there is a letter that is new."""
        if self.postman is None:
            return
        operation = self.record.invoke(Kind.BRING_LINK, address=account.canonical)
        try:
            link = self.postman.bring(account.canonical)
        except AuthError:
            operation.settle(Outcome.UNKNOWN)
            return
        if link is None:
            operation.settle(Outcome.REFUSED)
            return
        operation.link, operation.user = link.message, link.user
        operation.settle(Outcome.OK)
        account.links.append(link)

    def reset_password(self, door: Api, account: Account, link: Link, new: str) -> Operation:
        operation = self.record.invoke(
            Kind.RESET_PASSWORD, address=account.canonical, user=link.user, link=link.message, new_password=new
        )
        answer = _ask(operation, lambda: door.reset(link.token, new))
        if answer is not None:
            operation.settle(Outcome.OK, answer.status)
        account.learn(operation, new)
        return operation

    def revoke(self, door: Api, login: Login, generation: int) -> None:
        """End a session by one of its refresh tokens (RFC 7009)."""
        token = login.refresh_tokens[generation]
        operation = self.record.invoke(
            Kind.REVOKE, user=login.user, session=login.session, presented=_contents(token)[1]
        )
        answer = _ask(operation, lambda: door.post("/v1/revoke", form={"token": token}))
        if answer is not None:
            operation.settle(Outcome.OK, answer.status)


def _ask(operation: Operation, ask: Callable[[], Answer]) -> Answer | None:
    """The answer, if it acknowledges; everything else is noted here."""
    try:
        answer = ask()
    except ConnectionRefusedError:
        operation.settle(Outcome.FAILED)  # nobody was there to hear of it
    except (OSError, http.client.HTTPException):
        operation.settle(Outcome.UNKNOWN)
    else:
        if answer.status < 300:
            return answer
        operation.settle(_outcome(answer), answer.status)
    if not operation.is_refused:
        time.sleep(PAUSE_WHEN_AWAY)
    return None


def _outcome(answer: Answer) -> Outcome:
    if answer.status in REFUSALS:
        return Outcome.REFUSED
    nothing_was_done = answer.status == 503 and answer.json.get("code") == "overloaded"
    return Outcome.FAILED if nothing_was_done else Outcome.UNKNOWN


def _contents(refresh_token: str) -> tuple[uuid.UUID, int]:
    """The session and the generation that a refresh token names."""
    raw = base64.urlsafe_b64decode(refresh_token.removeprefix("twr_"))
    return uuid.UUID(bytes=raw[:16]), int.from_bytes(raw[16:22])


class Users:
    """Users who share a few accounts, each in a thread of its own, until they are told to stop."""

    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._seed = seed
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.accounts: list[Account] = []
        self._in_use: list[Account] = [self._new_account() for _ in range(ADDRESSES)]
        self._is_over = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """All users at once; whatever one of them meets is raised at the end."""
        self._is_over.clear()
        self._end_before()
        with ThreadPoolExecutor(USERS) as pool:
            working: list[Future[None]] = [pool.submit(self._use, number) for number in range(USERS)]
            try:
                yield
            finally:
                self._is_over.set()
        for user in working:
            user.result()

    def ask_for_everything(self) -> None:
        """Ask at each door for every account with every password that it may have had, every session, every link."""
        for account in self.accounts:
            for password in account.passwords:
                for door in self._service.doors:
                    self._service.login(door, account, password)
        for account in self.accounts:
            for login in account.logins:
                for door in self._service.doors:
                    self._service.whoami(door, login)
                self._service.refresh(self._service.doors[0], login, len(login.refresh_tokens) - 1)
        for account in self.accounts:  # last: of a reset in doubt, the link may still work
            for link in account.links:
                for door in self._service.doors:
                    self._service.reset_password(door, account, link, self._new_password())

    def _end_before(self) -> None:
        """Let there be a session that was revoked and one that a reset ended, whatever goes wrong from here on."""
        service, door, account = self._service, self._service.doors[0], self._new_account()
        service.signup(door, account, password := self._new_password())
        service.login(door, account, password)
        revoked = service.login(door, account, password)
        assert revoked is not None
        service.revoke(door, revoked, 0)
        self._follow_a_link(door, account, lambda links: links[-1])

    def _use(self, number: int) -> None:
        choose = random.Random(f"{self._seed}-{number}")
        while not self._is_over.is_set():
            with self._lock:
                account = choose.choice(self._in_use)
            self._act(choose, account)

    def _act(self, choose: random.Random, account: Account) -> None:
        """One step of somebody who has this account, or wants it."""
        service, door = self._service, choose.choice(self._service.doors)
        logins = [login for login in account.logins if not login.is_over or choose.random() < 0.05]
        if not account.passwords or choose.random() < 0.04:
            service.signup(door, self._spelt(choose, account), self._new_password())
            return
        if not logins or choose.random() < 0.1:
            service.login(door, self._spelt(choose, account), self._password_of(choose, account))
            return
        login, password = choose.choice(logins), self._password_of(choose, account)
        steps: dict[Callable[[], object], int] = {
            partial(service.whoami, door, login): 40,
            partial(self._refresh, choose, door, login): 40,
            partial(service.change_password, door, login, password, self._new_password()): 6,
            partial(service.logout, door, login): 6,
            partial(service.end_sessions, door, login, keep_current=False): 2,
            partial(service.end_sessions, door, login, keep_current=True): 3,
            partial(self._revoke, choose, door, login): 3,
            partial(service.request_reset, door, account): 6,
            partial(self._recover, choose, door, account): 6,
            partial(self._leave, door, login, password): 3,
        }
        choose.choices(list(steps), list(steps.values()))[0]()

    def _refresh(self, choose: random.Random, door: Api, login: Login) -> None:
        """Now and then with a token that was replaced, as after a lost answer, or a theft."""
        self._service.refresh(door, login, _mostly_the_newest(choose, login))

    def _revoke(self, choose: random.Random, door: Api, login: Login) -> None:
        """Now and then with a token that was replaced, which may end nothing."""
        self._service.revoke(door, login, _mostly_the_newest(choose, login))

    def _recover(self, choose: random.Random, door: Api, account: Account) -> None:
        """Follow a link that was asked for; now and then one that was replaced, or followed before."""
        knows = choose.random() < 0.8
        self._follow_a_link(door, account, lambda links: links[-1] if knows else choose.choice(links))

    def _follow_a_link(self, door: Api, account: Account, choose: Callable[[list[Link]], Link]) -> None:
        self._service.request_reset(door, account)
        self._service.bring_link(account)
        if account.links:
            self._service.reset_password(door, account, choose(account.links), self._new_password())

    def _leave(self, door: Api, login: Login, password: str) -> None:
        """Delete the account, and leave the address to whoever comes; others go on with a new one."""
        account = login.account
        self._service.delete(door, login, password)
        with self._lock:
            if account in self._in_use:
                self._in_use[self._in_use.index(account)] = self._new_account()

    def _new_account(self) -> Account:
        account = Account(f"user{next(self._numbers)}.{self._seed}@example.com")
        self.accounts.append(account)
        return account

    def _spelt(self, choose: random.Random, account: Account) -> Account:
        """The same account; its address is written in one of the ways that mean the same."""
        account.address = choose.choice([account.address.lower(), account.address.title(), account.address.upper()])
        return account

    def _new_password(self) -> str:
        return f"sentence number {next(self._numbers)} of {self._seed}"

    def _password_of(self, choose: random.Random, account: Account) -> str:
        """Mostly the right one, as far as that is known."""
        knows = account.current and choose.random() < 0.8
        return account.current if knows else choose.choice(account.passwords[-4:])


def _mostly_the_newest(choose: random.Random, login: Login) -> int:
    """The generation of a refresh token."""
    back = choose.choices([0, 1, 2], [90, 8, 2])[0]
    return max(len(login.refresh_tokens) - 1 - back, 0)


def remains_of(url: str, operations: Sequence[Operation]) -> Remains:
    """What the database holds; asked when nobody uses it any more."""
    passwords: dict[str, set[str]] = {}
    for operation in operations:
        passwords.setdefault(operation.address, set()).update({operation.password, operation.new_password} - {""})
    hasher = PasswordHasher(PasswordSettings(bcrypt_cost=4))
    store = open_store(url, DatabaseSettings())
    try:
        with store.engine.connect() as connection:
            # What is left of deleted accounts, until the housekeeping erases it, is nobody's.
            there = users.c.deleted_at.is_(None)
            found = select(users.c.id, users.c.canonical_email, users.c.password_hash).where(there)
            rows = connection.execute(found).all()
            accounts = tuple(
                StoredAccount(
                    id=row.id,
                    address=row.canonical_email,
                    opened_by=frozenset(
                        password
                        for password in passwords.get(row.canonical_email, ())
                        if hasher.verify(password, row.password_hash)
                    ),
                )
                for row in rows
            )
            chains = tuple(
                StoredSession(
                    id=row.id, user=row.user_id, generation=row.generation, has_ended=row.ended_at is not None
                )
                for row in connection.execute(select(sessions).join(users).where(there))
            )
            requests = connection.execute(
                select(outbox.c.canonical_email).where(outbox.c.kind == MessageKind.PASSWORD_RESET.value)
            ).scalars()
            return Remains(accounts=accounts, sessions=chains, resets=Counter(requests))
    finally:
        store.close()


def slowest(operations: Sequence[Operation]) -> float:
    """The seconds that the slowest answer took."""
    return max(operation.answered - operation.invoked for operation in operations)


def wait_until(moment: float) -> None:
    """Wait for a time of the monotonic clock: a fault lasts."""
    time.sleep(max(0.0, moment - time.monotonic()))
