"""What happened to a service, operation by operation, and a pure checker of whether that may have happened.

An operation is invoked, and then it is acknowledged (``OK``), refused by a rule of the service (``REFUSED``), known to
have done nothing (``FAILED``), or its outcome is unknown: the connection broke, or the answer said that the database is
away. An unknown one may have taken effect or not, and at any time after it was invoked, so also long after its answer.

The rules are sound rather than complete: what they call a violation is one, whatever the clocks and the threads did.
They lean on two habits of the workload: no password is chosen twice, and every session is known by its login.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NEVER = math.inf
SLACK = 1.0  # seconds by which the clocks of client and server may differ in a duration


class Kind(StrEnum):
    SIGNUP = "signup"
    LOGIN = "login"
    REFRESH = "refresh"
    WHOAMI = "whoami"
    CHANGE_PASSWORD = "change password"
    LOGOUT = "logout"
    END_SESSIONS = "end sessions"
    END_OTHER_SESSIONS = "end other sessions"
    REVOKE = "revoke"
    """Of a refresh token."""
    REQUEST_RESET = "request reset"
    BRING_LINK = "bring link"
    """Which makes the link, and ends the one before it. Refused where there is no letter that is new."""
    RESET_PASSWORD = "reset password"
    DELETE_ACCOUNT = "delete account"


class Outcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


UNAUTHENTICATED = 401  # the session is over
BAD_LINK = 400  # that was junk, used or replaced
BY_TOKEN = frozenset(
    {
        Kind.WHOAMI,
        Kind.CHANGE_PASSWORD,
        Kind.LOGOUT,
        Kind.END_SESSIONS,
        Kind.END_OTHER_SESSIONS,
        Kind.DELETE_ACCOUNT,
    }
)


@dataclass(kw_only=True)
class Operation:
    """One operation. What is known of it when it is invoked stands first, what its answer told afterwards."""

    kind: Kind
    invoked: float
    door: str = ""
    address: str = ""
    """The canonical form."""
    password: str = field(default="", repr=False)
    """That is set by a signup, or proves who asks."""
    new_password: str = field(default="", repr=False)
    user: uuid.UUID | None = None
    session: uuid.UUID | None = None
    link: uuid.UUID | None = None
    presented: int = 0
    """Generation of the refresh token that was sent."""
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    completed: float = NEVER
    """When its effect was certainly there; never, as long as nobody knows."""
    answered: float = NEVER
    given: int = 0
    """Generation of the refresh token that was received."""
    token: str = field(default="", repr=False)

    @property
    def may_have_happened(self) -> bool:
        """Whether it may have taken effect."""
        return self.outcome in (Outcome.OK, Outcome.UNKNOWN)

    @property
    def is_ok(self) -> bool:
        return self.outcome == Outcome.OK

    @property
    def is_refused(self) -> bool:
        return self.outcome == Outcome.REFUSED

    def settle(self, outcome: Outcome, status: int = 0) -> None:
        """Note how it ended, now."""
        self.answered = time.monotonic()
        self.outcome, self.status = outcome, status
        if outcome != Outcome.UNKNOWN:
            self.completed = self.answered

    def __str__(self) -> str:
        who = self.session or self.user or self.address
        return f"{self.kind} of {who} ({self.outcome} {self.status}, {self.invoked:.3f} to {self.completed:.3f})"


class Record:
    """Takes down operations from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: list[Operation] = []

    def invoke(self, kind: Kind, **known: object) -> Operation:
        """Note that an operation begins now; until it is settled, nobody knows what became of it."""
        operation = Operation(kind=kind, invoked=time.monotonic(), **known)  # type: ignore[arg-type]  # its fields
        with self._lock:
            self._operations.append(operation)
        return operation

    @property
    def operations(self) -> list[Operation]:
        with self._lock:
            return list(self._operations)

    def summary(self) -> str:
        """How many of each outcome, and how many ends by another way than a log-out."""
        counts = Counter(operation.outcome for operation in self.operations)
        done = Counter(operation.kind for operation in self.operations if operation.is_ok)
        ends = f"{done[Kind.RESET_PASSWORD]} resets, {done[Kind.REVOKE]} revocations"
        return ", ".join([*(f"{counts[outcome]} {outcome}" for outcome in Outcome), ends])


@dataclass(frozen=True, kw_only=True)
class StoredAccount:
    """An account that the database holds at the end."""

    id: uuid.UUID
    address: str
    opened_by: frozenset[str]
    """Of the passwords in the history, those that its hash verifies."""


@dataclass(frozen=True, kw_only=True)
class StoredSession:
    """A session that the database holds at the end."""

    id: uuid.UUID
    user: uuid.UUID
    generation: int
    has_ended: bool


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What the database holds at the end, when everything is healed and nothing runs any more."""

    accounts: tuple[StoredAccount, ...] = ()
    sessions: tuple[StoredSession, ...] = ()
    resets: Mapping[str, int] = field(default_factory=dict)
    """Messages that reset a password, by address."""


def violations(operations: Iterable[Operation], remains: Remains, *, grace: float) -> list[str]:
    """What of it cannot have happened in a service that keeps its word; empty where all is well.

    ``grace`` is the seconds in which the predecessor of a refresh token gives its successor again.
    """
    return list(Checker(operations, remains, grace).violations())


class Checker:
    """The history by what it is about."""

    def __init__(self, operations: Iterable[Operation], remains: Remains, grace: float) -> None:
        self._all = sorted(operations, key=lambda operation: operation.invoked)
        self._remains = remains
        self._grace = grace
        self._by_kind: dict[Kind, list[Operation]] = defaultdict(list)
        self._by_address: dict[str, list[Operation]] = defaultdict(list)
        self._by_session: dict[uuid.UUID, list[Operation]] = defaultdict(list)
        self._by_user: dict[uuid.UUID, list[Operation]] = defaultdict(list)
        for operation in self._all:
            self._by_kind[operation.kind].append(operation)
            if operation.address:
                self._by_address[operation.address].append(operation)
            if operation.user is not None:
                self._by_user[operation.user].append(operation)
            if operation.session is not None:
                self._by_session[operation.session].append(operation)

    def violations(self) -> Iterator[str]:
        yield from self._wrong_answers()
        accounts: dict[str, list[StoredAccount]] = defaultdict(list)
        for account in self._remains.accounts:
            accounts[account.address].append(account)
        for address, about in self._by_address.items():
            messages = self._remains.resets.get(address, 0)
            yield from Address(address, about, accounts[address], messages).violations()
        users = {account.id for account in self._remains.accounts}
        stored = {session.id: session for session in self._remains.sessions}
        for session, about in self._by_session.items():
            user = _user_of(about)
            chain = Session(session, about, self._by_user[user], stored.get(session), self._grace)
            yield from chain.violations(is_user_there=user in users)
        yield from self._strangers()

    def _wrong_answers(self) -> Iterator[str]:
        """No operation of the workload is one that the service may choke on."""
        expected = (0, UNAUTHENTICATED, 403, 409, 503)
        for operation in self._all:
            is_bad_link = operation.kind == Kind.RESET_PASSWORD and operation.status == BAD_LINK
            if not operation.is_ok and operation.status not in expected and not is_bad_link:
                yield f"answered {operation.status}: {operation}"

    def _strangers(self) -> Iterator[str]:
        """Sessions that no login told of are logins whose answer was lost, one each."""
        untold = Counter(session.user for session in self._remains.sessions if session.id not in self._by_session)
        for user, unknown in untold.items():
            address = next((operation.address for operation in self._by_user[user] if operation.address), "")
            lost = sum(
                operation.kind == Kind.LOGIN and operation.outcome == Outcome.UNKNOWN
                for operation in self._by_address[address]
            )
            if address and unknown > lost:
                yield f"{unknown} sessions of {user} that nobody was told of, and {lost} logins in doubt"
        for account in self._remains.accounts:
            if account.address not in self._by_address:
                yield f"account of nobody: {account}"


class Address:
    """An address: its accounts, one after the other, and their passwords."""

    def __init__(self, address: str, about: list[Operation], accounts: list[StoredAccount], messages: int) -> None:
        self._address = address
        self._signups = [operation for operation in about if operation.kind == Kind.SIGNUP]
        self._logins = [operation for operation in about if operation.kind == Kind.LOGIN]
        self._changes = [operation for operation in about if operation.kind == Kind.CHANGE_PASSWORD]
        self._deletions = [operation for operation in about if operation.kind == Kind.DELETE_ACCOUNT]
        self._requests = [operation for operation in about if operation.kind == Kind.REQUEST_RESET]
        self._links = [operation for operation in about if operation.kind == Kind.BRING_LINK]
        self._resets = [operation for operation in about if operation.kind == Kind.RESET_PASSWORD]
        self._accounts = accounts
        self._messages = messages

    def violations(self) -> Iterator[str]:
        yield from self._one_account()
        yield from self._signed_up_is_there()
        yield from self._deleted_is_gone()
        yield from self._refused_signups()
        yield from self._logins_let_in()
        yield from self._passwords_refused()
        yield from self._one_change_each()
        yield from self._one_use_of_a_link()
        yield from self._links_refused()
        yield from self._the_password_at_the_end()
        yield from self._resets_requested()

    def _one_account(self) -> Iterator[str]:
        if len(self._accounts) > 1:
            yield f"{len(self._accounts)} accounts have the address {self._address}"
        acknowledged = [operation for operation in self._signups if operation.is_ok]
        for number, one in enumerate(acknowledged):
            for other in acknowledged[number + 1 :]:
                if not self._one_after_the_other(one, other) and not self._one_after_the_other(other, one):
                    yield f"two accounts at once: {one}; {other}"

    def _one_after_the_other(self, first: Operation, second: Operation) -> bool:
        """Whether the account of the first may have been deleted before the second was made."""
        return any(
            deletion.user == first.user and deletion.invoked < second.completed
            for deletion in self._deletions
            if deletion.may_have_happened
        )

    def _signed_up_is_there(self) -> Iterator[str]:
        there = {account.id for account in self._accounts}
        known = {signup.user for signup in self._signups if signup.is_ok}
        for signup in self._signups:
            if signup.is_ok and signup.user not in there and not self._may_be_deleted(signup.user):
                yield f"an acknowledged signup is lost: {signup}"
        lost = [signup for signup in self._signups if signup.outcome == Outcome.UNKNOWN]
        for account in self._accounts:
            if account.id not in known and not lost:
                yield f"an account that nobody signed up: {account}"

    def _deleted_is_gone(self) -> Iterator[str]:
        there = {account.id for account in self._accounts}
        for deletion in self._deletions:
            if deletion.is_ok and deletion.user in there:
                yield f"an acknowledged deletion is undone: {deletion}"

    def _refused_signups(self) -> Iterator[str]:
        """Refused as taken, where nobody can have had the address."""
        for refused in self._signups:
            if refused.is_refused and not any(
                other is not refused and other.may_have_happened and other.invoked < refused.completed
                for other in self._signups
            ):
                yield f"refused, and nobody has the address: {refused}"

    def _logins_let_in(self) -> Iterator[str]:
        for login in self._logins:
            if not login.is_ok:
                continue
            setting = self._setting(login.password)
            if not any(operation.invoked < login.completed for operation in setting if operation.may_have_happened):
                yield f"let in with a password that nobody has set: {login}"
            for change in self._surely_replacing(login.password):
                if change.completed < login.invoked:
                    yield f"let in with a password that was changed before: {login}; {change}"
            for deletion in self._deletions:
                if deletion.is_ok and deletion.user == login.user and deletion.completed < login.invoked:
                    yield f"let in to an account that was deleted before: {login}; {deletion}"

    def _passwords_refused(self) -> Iterator[str]:
        """Refused, although it was right all the time."""
        for refused in (*self._logins, *self._changes, *self._deletions):
            is_about_password = refused.kind == Kind.LOGIN or refused.status != UNAUTHENTICATED
            if not refused.is_refused or not is_about_password:
                continue
            was_right = any(
                operation.is_ok and operation.completed < refused.invoked
                for operation in (*self._setting(refused.password), *self._proving(refused.password))
            )
            may_be_over = any(
                operation is not refused and operation.may_have_happened and operation.invoked < refused.completed
                for operation in (*self._replacing(refused.password), *self._deletions)
            )
            if was_right and not may_be_over:
                yield f"refused with the right password: {refused}"

    def _one_change_each(self) -> Iterator[str]:
        """A change names the password that it replaces, so of two that name the same one, one is refused."""
        changes = Counter(change.password for change in self._changes if change.is_ok)
        for count in changes.values():
            if count > 1:
                yield f"a password of {self._address} was replaced {count} times"

    def _one_use_of_a_link(self) -> Iterator[str]:
        uses = Counter(reset.link for reset in self._resets if reset.is_ok)
        for link, count in uses.items():
            if count > 1:
                yield f"the link {link} was used {count} times"

    def _links_refused(self) -> Iterator[str]:
        """Refused, although nothing can have ended the link since it was made."""
        for brought in self._links:
            for refused in self._resets:
                if not brought.is_ok or brought.link != refused.link or not refused.is_refused:
                    continue
                if not any(
                    operation is not refused and operation.invoked < refused.completed
                    for operation in self._ending_links(brought)
                ):
                    yield f"refused with a link that nothing has ended: {refused}"

    def _ending_links(self, brought: Operation) -> Iterator[Operation]:
        """What may have ended a link after it was made: its use, a newer one, another password, the account's end."""
        for operation in (*self._links, *self._resets, *self._changes, *self._deletions):
            if operation is not brought and operation.may_have_happened and operation.completed > brought.invoked:
                yield operation

    def _the_password_at_the_end(self) -> Iterator[str]:
        for account in self._accounts:
            if len(account.opened_by) != 1:
                yield f"{len(account.opened_by)} passwords of the history open {account}"
            for password in account.opened_by:
                if not any(operation.may_have_happened for operation in self._setting(password)):
                    yield f"a password that nobody has set opens {account}"
                for change in self._surely_replacing(password):
                    yield f"an acknowledged change is undone: {change}"
            for operation in (*self._signups, *self._changes, *self._resets):
                chosen = operation.new_password or operation.password
                if (
                    operation.is_ok
                    and operation.user == account.id
                    and chosen not in account.opened_by
                    and not any(change.may_have_happened for change in self._replacing(chosen))
                ):
                    yield f"an acknowledged password is lost: {operation}"

    def _may_be_forgotten(self, request: Operation) -> bool:
        causes = (*self._deletions, *self._changes, *self._resets)
        return any(cause.may_have_happened and cause.completed > request.invoked for cause in causes)

    def _resets_requested(self) -> Iterator[str]:
        # With an account, or with a password, go the requests that name its address: whoever knew it has asked.
        acknowledged = sum(request.is_ok and not self._may_be_forgotten(request) for request in self._requests)
        possible = sum(request.may_have_happened for request in self._requests)
        if not acknowledged <= self._messages <= possible:
            yield (
                f"{self._messages} messages to {self._address}, of {acknowledged} acknowledged and {possible} possible"
            )

    def _setting(self, password: str) -> list[Operation]:
        signups = [signup for signup in self._signups if signup.password == password]
        return signups + [change for change in (*self._changes, *self._resets) if change.new_password == password]

    def _proving(self, password: str) -> list[Operation]:
        return [login for login in self._logins if login.password == password]

    def _replacing(self, password: str) -> list[Operation]:
        """What may have put another one in its place: a reset names none, and replaces whichever there is."""
        since = min((operation.invoked for operation in self._setting(password)), default=NEVER)
        resets = [reset for reset in self._resets if reset.new_password != password and reset.completed > since]
        return self._naming(password) + resets

    def _surely_replacing(self, password: str) -> list[Operation]:
        """What has put another one in its place, if it was ever there. No password is set a second time."""
        there = (*self._setting(password), *self._proving(password))
        since = min((operation.completed for operation in there if operation.is_ok), default=NEVER)
        resets = [reset for reset in self._resets if reset.new_password != password and reset.invoked > since]
        return [change for change in self._naming(password) + resets if change.is_ok]

    def _naming(self, password: str) -> list[Operation]:
        return [change for change in self._changes if change.password == password]

    def _may_be_deleted(self, user: uuid.UUID | None) -> bool:
        return any(deletion.user == user and deletion.may_have_happened for deletion in self._deletions)


class Session:
    """A session: one chain of refresh tokens, and an end that is one."""

    def __init__(
        self,
        session: uuid.UUID,
        about: list[Operation],
        of_user: list[Operation],
        stored: StoredSession | None,
        grace: float,
    ) -> None:
        self._id = session
        self._about = about
        self._login = next((operation for operation in about if operation.kind == Kind.LOGIN), None)
        self._refreshes = [operation for operation in about if operation.kind == Kind.REFRESH]
        self._of_user = of_user
        self._stored = stored
        self._grace = grace

    def violations(self, *, is_user_there: bool) -> Iterator[str]:
        if self._login is None:
            yield f"a session without a login: {self._id}"
            return
        yield from self._one_successor()
        yield from self._no_way_back()
        yield from self._ended_is_ended()
        yield from self._not_ended_without_a_cause()
        yield from self._revocations_refused()
        yield from self._what_is_stored(is_user_there=is_user_there)

    def _one_successor(self) -> Iterator[str]:
        tokens: dict[int, set[str]] = defaultdict(set)
        for operation in self._about:
            if operation.is_ok and operation.token:
                tokens[operation.given].add(operation.token)
        for generation, texts in tokens.items():
            if len(texts) > 1:
                yield f"{len(texts)} tokens of generation {generation} of session {self._id}"
        for refresh in self._refreshes:
            if refresh.is_ok and refresh.given != refresh.presented + 1:
                yield f"generation {refresh.presented} was followed by {refresh.given}: {refresh}"

    def _no_way_back(self) -> Iterator[str]:
        """What was replaced is taken once more within the grace, and never when its successor was used."""
        acknowledged = [refresh for refresh in self._refreshes if refresh.is_ok]
        for earlier in acknowledged:
            for later in acknowledged:
                if later.invoked <= earlier.completed:
                    continue
                if later.presented < earlier.presented:
                    yield f"an older token was taken after a newer one: {later}; {earlier}"
                is_late = later.invoked - earlier.completed > self._grace + SLACK
                if later.presented == earlier.presented and is_late:
                    yield f"a replaced token was taken after the grace: {later}; {earlier}"

    def _ended_is_ended(self) -> Iterator[str]:
        """Nothing that begins after an acknowledged end succeeds; an answer that it is over counts as well."""
        over = min((operation.completed for operation in self._ends()), default=NEVER)
        for operation in self._about:
            # What is over may be revoked; it stays as it is.
            if operation.is_ok and operation.invoked > over and operation.kind != Kind.REVOKE:
                yield f"succeeded after the session had ended at {over:.3f}: {operation}"

    def _not_ended_without_a_cause(self) -> Iterator[str]:
        for operation in self._about:
            if self._says_it_is_over(operation) and not self._may_be_over(operation):
                yield f"refused, and nobody ended the session: {operation}"

    def _revocations_refused(self) -> Iterator[str]:
        """A token that is none any more is revoked already (RFC 7009 section 2.2)."""
        for operation in self._about:
            if operation.kind == Kind.REVOKE and operation.is_refused:
                yield f"a revocation was refused: {operation}"

    def _what_is_stored(self, *, is_user_there: bool) -> Iterator[str]:
        stored = self._stored
        has_cause = any(True for _ in self._causes())
        if stored is None:
            if is_user_there:
                yield f"an acknowledged session is lost: {self._login}"
            return
        if stored.user != _user_of(self._about):
            yield f"session {self._id} belongs to somebody else"
        if not stored.has_ended and any(True for _ in self._ends()):
            yield f"an acknowledged end is undone: session {self._id}"
        if stored.has_ended and not has_cause:
            yield f"nobody ended session {self._id}, and it has ended"
        least = max((refresh.given for refresh in self._refreshes if refresh.is_ok), default=0)
        most = max((refresh.presented + 1 for refresh in self._refreshes if refresh.may_have_happened), default=0)
        if not least <= stored.generation <= most:
            yield f"session {self._id} is at generation {stored.generation}, not between {least} and {most}"

    def _ends(self) -> Iterator[Operation]:
        """After each of these, when it is completed, the session is over."""
        for operation in self._about:
            if self._says_it_is_over(operation):
                yield operation
        for operation in self._possible_ends():
            is_of_it = operation.session == self._id or self._was_there_before(operation)
            if operation.is_ok and is_of_it and not self._may_end_nothing(operation):
                yield operation

    def _may_end_nothing(self, operation: Operation) -> bool:
        """Whether it revokes a token that may have been replaced, and so revoked already."""
        return operation.kind == Kind.REVOKE and self._may_be_a_second_use(operation)

    def _was_there_before(self, operation: Operation) -> bool:
        assert self._login is not None
        return operation.kind == Kind.DELETE_ACCOUNT or self._login.completed < operation.invoked

    def _possible_ends(self) -> Iterator[Operation]:
        """What may have ended it on purpose."""
        for operation in self._of_user:
            if not operation.may_have_happened:
                continue
            is_own = operation.session == self._id
            match operation.kind:
                case Kind.LOGOUT | Kind.REVOKE if is_own:
                    yield operation
                case Kind.END_SESSIONS | Kind.DELETE_ACCOUNT | Kind.RESET_PASSWORD:
                    yield operation
                case Kind.CHANGE_PASSWORD | Kind.END_OTHER_SESSIONS if not is_own:
                    yield operation

    def _causes(self) -> Iterator[Operation]:
        """The same, and what may have ended it as the second use of a token."""
        yield from self._possible_ends()
        for refresh in self._refreshes:
            is_over_or_unknown = refresh.is_refused or refresh.outcome == Outcome.UNKNOWN
            if is_over_or_unknown and self._may_be_a_second_use(refresh):
                yield refresh

    def _may_be_over(self, refused: Operation) -> bool:
        """Whether something that began before this answer may be the reason for it."""
        return any(cause.invoked < refused.completed for cause in self._causes())

    def _may_be_a_second_use(self, refresh: Operation) -> bool:
        """Whether the session may have gone on from this token by more than the grace allows."""
        for other in self._refreshes:
            if other is refresh or not other.may_have_happened or other.invoked >= refresh.completed:
                continue
            is_late = refresh.completed - other.invoked > self._grace - SLACK
            if other.presented > refresh.presented or (other.presented == refresh.presented and is_late):
                return True
        return False

    @staticmethod
    def _says_it_is_over(operation: Operation) -> bool:
        of_session = operation.kind == Kind.REFRESH or operation.kind in BY_TOKEN
        return of_session and operation.is_refused and operation.status == UNAUTHENTICATED


def _user_of(about: list[Operation]) -> uuid.UUID:
    return next(operation.user for operation in about if operation.user is not None)
