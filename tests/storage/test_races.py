"""Many at once, on real databases, sixteen threads that start at the same moment."""

from __future__ import annotations

import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select

from core.accounts.errors import InvalidResetToken, InvalidVerificationToken
from core.app import AuthApp, build, build_key_ring, build_mail_worker
from core.audit.model import EventKind
from core.authentication.errors import InvalidCredentials, WrongPassword
from core.errors import AuthError, InvalidToken
from core.mail.model import MessageKind
from core.mail.rendering import Letter
from core.mail.sql import email_tokens, outbox
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import Principal, TokenPair
from core.sessions.sql import sessions
from core.settings.groups import MailSettings, PasswordSettings, ThrottleSettings, TokenSettings
from core.sql_store import SqlStore
from core.users.errors import EmailTaken
from core.users.model import User
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.database_faults import meanwhile, opened, server_options, url_of, wait_for_blocked
from tests.support.mail import RecordingMailer, kind_of, token_of
from tests.support.settings import AMPLE, make_settings
from tests.support.values import account_in, events_in, messages_in, session_in

THREADS = 16
CLIENT = Origin()

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    """Let threads take turns fifty times as often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 50)
    yield
    sys.setswitchinterval(interval)


def _together(*calls: Callable[[], T]) -> list[T | AuthError]:
    """Share the calls out to the threads, start them at one moment, and give each answer or refusal in its place."""
    threads = min(THREADS, len(calls))
    start = threading.Barrier(threads)

    def run(share: tuple[Callable[[], T], ...]) -> list[T | AuthError]:
        start.wait(10)
        return [_outcome(call) for call in share]

    outcomes: list[T | AuthError] = [AuthError("It never ran.")] * len(calls)
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(run, calls[number::threads]) for number in range(threads)]
        for number, future in enumerate(futures):
            outcomes[number::threads] = future.result(60)
    return outcomes


def _outcome(call: Callable[[], T]) -> T | AuthError:
    try:
        return call()
    except AuthError as refusal:
        return refusal


def _kinds(outcomes: Sequence[Any]) -> Counter[type]:
    return Counter(type(outcome) for outcome in outcomes)


def _app(store: SqlStore, **settings: Any) -> AuthApp:
    passwords = PasswordSettings(bcrypt_cost=4, hash_concurrency=16, hash_wait=timedelta(seconds=60))
    made = make_settings(**{"passwords": passwords, "throttling": AMPLE} | settings)
    app = build(made, store=store, clock=FakeClock(START), mailer=RecordingMailer())
    app.keys.ensure()
    return app


@pytest.fixture
def app(store: SqlStore) -> AuthApp:
    return _app(store)


@pytest.fixture
def ann(app: AuthApp) -> User:
    user = app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    assert user is not None
    return user


def _login(app: AuthApp, user_agent: str = "", password: str = PASSWORD) -> TokenPair:
    return app.authentication.login(EMAIL, password, Origin(user_agent=user_agent))


def _live(store: SqlStore, user_id: uuid.UUID) -> Counter[str]:
    with store.reading() as read:
        return Counter(found.user_agent for found in read.sessions.live_of(user_id, now=START))


# Signing up

SPELLINGS = ("ann@example.com", "Ann@example.com", "ANN@EXAMPLE.COM", "aNN@Example.Com")


def test_of_thirty_two_equal_signups_one_succeeds_and_the_others_are_told(store: SqlStore, app: AuthApp) -> None:
    def sign_up(number: int) -> Callable[[], User | None]:
        return lambda: app.accounts.sign_up(SPELLINGS[number % len(SPELLINGS)], PASSWORD, str(number), CLIENT)

    outcomes = _together(*(sign_up(number) for number in range(32)))
    assert _kinds(outcomes) == {User: 1, EmailTaken: 31}
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, User))
    with store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(users)) == 1
        assert connection.scalar(select(users.c.id)) == winner.id
    assert Counter(event.kind for event in events_in(store)) == {
        EventKind.SIGNED_UP: 1,
        EventKind.SIGNUP_REPEATED: 31,
    }


def test_signups_of_different_addresses_do_not_hinder_each_other(store: SqlStore, app: AuthApp) -> None:
    def sign_up(number: int) -> Callable[[], User | None]:
        return lambda: app.accounts.sign_up(f"user{number}@example.com", PASSWORD, None, CLIENT)

    outcomes = _together(*(sign_up(number) for number in range(32)))
    assert _kinds(outcomes) == {User: 32}
    assert len(events_in(store)) == 32


# Refreshing


def _assert_one_successor(store: SqlStore, app: AuthApp, outcomes: Sequence[TokenPair | AuthError]) -> TokenPair:
    assert _kinds(outcomes) == {TokenPair: len(outcomes)}
    pairs = [outcome for outcome in outcomes if isinstance(outcome, TokenPair)]
    assert len({pair.refresh_token for pair in pairs}) == 1
    session_ids = {app.sessions.whoami(pair.access_token).session_id for pair in pairs}
    assert len(session_ids) == 1
    assert session_in(store, session_ids.pop()).ended_at is None
    return pairs[0]


@pytest.mark.usefixtures("ann")
def test_thirty_two_uses_of_one_refresh_token_make_one_successor(store: SqlStore, app: AuthApp) -> None:
    pair = _login(app)
    for generation in range(1, 6):
        token = pair.refresh_token
        outcomes = _together(*[lambda token=token: app.sessions.refresh(token, CLIENT)] * 32)
        pair = _assert_one_successor(store, app, outcomes)
        assert session_in(store, app.sessions.whoami(pair.access_token).session_id).generation == generation
    assert EventKind.REFRESH_TOKEN_REUSED not in {event.kind for event in events_in(store)}


@pytest.mark.usefixtures("ann")
def test_a_token_refreshed_by_many_processes_has_one_successor(store: SqlStore, app: AuthApp) -> None:
    """Services with pools and key rings of their own, as processes have them."""
    token = _login(app).refresh_token
    with opened(url_of(store)) as one, opened(url_of(store)) as two:
        apps = [app, _app(one), _app(two)]
        calls = [lambda own=own: own.sessions.refresh(token, CLIENT) for own in apps for _ in range(8)]
        _assert_one_successor(store, app, _together(*calls))


@pytest.mark.usefixtures("ann")
def test_many_uses_of_a_token_without_grace_let_at_most_one_through(store: SqlStore) -> None:
    app = _app(store, tokens=TokenSettings(refresh_grace=timedelta(0)))
    token = _login(app).refresh_token
    outcomes = _together(*[lambda: app.sessions.refresh(token, CLIENT)] * 32)
    assert _kinds(outcomes) == {TokenPair: 1, InvalidRefreshToken: 31}
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, TokenPair))
    with pytest.raises(InvalidToken):
        app.sessions.whoami(winner.access_token)


@pytest.mark.usefixtures("ann")
def test_many_reuses_are_all_refused_and_end_the_session(store: SqlStore, app: AuthApp) -> None:
    first = _login(app)
    session_id = app.sessions.whoami(first.access_token).session_id
    second = app.sessions.refresh(first.refresh_token, CLIENT)
    app.sessions.refresh(second.refresh_token, CLIENT)
    outcomes = _together(*[lambda: app.sessions.refresh(first.refresh_token, CLIENT)] * 32)
    assert _kinds(outcomes) == {InvalidRefreshToken: 32}
    assert session_in(store, session_id).ended_at == START
    assert EventKind.REFRESH_TOKEN_REUSED in {event.kind for event in events_in(store)}


def test_under_serialisable_isolation_of_equal_signups_one_succeeds(postgres_store: SqlStore) -> None:
    with server_options(postgres_store, default_transaction_isolation="serializable") as store:
        # They come from one address block, whose one counter would undo more of them than is tried again: under this
        # isolation whoever waited for a row begins anew. What is tested is the constraint.
        app = _app(store, throttling=ThrottleSettings(throttle=False))
        outcomes = _together(*[lambda: app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)] * 32)
    assert _kinds(outcomes) == {User: 1, EmailTaken: 31}


def test_under_serialisable_isolation_uses_of_one_refresh_token_make_one_successor(postgres_store: SqlStore) -> None:
    with server_options(postgres_store, default_transaction_isolation="serializable") as store:
        app = _app(store)
        app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
        pair = _login(app)
        outcomes = _together(*[lambda: app.sessions.refresh(pair.refresh_token, CLIENT)] * 32)
        _assert_one_successor(store, app, outcomes)


# Ending sessions


class LogoutRace:
    """One logout, and fifteen who use the session before, during and after it."""

    def __init__(self, app: AuthApp) -> None:
        self._app = app
        self._pair = _login(app)
        self._start = threading.Barrier(THREADS)
        self._returned = threading.Event()
        self.principal = app.sessions.whoami(self._pair.access_token)
        self.violations: list[str] = []

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            jobs = [self._log_out, *[self._keep_refreshing] * 7, *[self._keep_asking] * 8]
            for future in [pool.submit(job) for job in jobs]:
                future.result(60)

    def _log_out(self) -> None:
        self._start.wait(10)
        try:
            self._app.sessions.logout(self.principal, CLIENT)
        finally:
            self._returned.set()

    def _keep_refreshing(self) -> None:
        token = self._pair.refresh_token
        self._start.wait(10)
        over = False
        while not over:
            over = self._returned.is_set()
            try:
                token = self._app.sessions.refresh(token, CLIENT).refresh_token
            except InvalidRefreshToken:
                continue
            if over:
                self.violations.append("a refresh that began after the logout had returned succeeded")

    def _keep_asking(self) -> None:
        self._start.wait(10)
        over = False
        while not over:
            over = self._returned.is_set()
            try:
                self._app.sessions.whoami(self._pair.access_token)
            except InvalidToken:
                continue
            if over:
                self.violations.append("an access token was accepted after the logout had returned")


@pytest.mark.usefixtures("ann")
def test_after_a_logout_has_returned_nothing_that_begins_later_succeeds(store: SqlStore, app: AuthApp) -> None:
    for _ in range(4):
        race = LogoutRace(app)
        race.run()
        assert race.violations == []
        assert session_in(store, race.principal.session_id).ended_at is not None


def test_logouts_and_ends_of_all_sessions_do_not_hinder_each_other(store: SqlStore, app: AuthApp, ann: User) -> None:
    """Rows that several updates touch in any order: a deadlock is undone and run again, unseen."""
    principals = [app.sessions.whoami(_login(app).access_token) for _ in range(8)]
    ends = [lambda own=own: app.sessions.end_all(own, CLIENT, keep_current=False) for own in principals]
    logouts = [lambda own=own: app.sessions.logout(own, CLIENT) for own in principals]
    assert _kinds(_together(*ends, *logouts)) == {type(None): 16}
    assert _live(store, ann.id) == {}


# Passwords


def test_after_a_password_change_no_session_of_the_old_password_lives(store: SqlStore, app: AuthApp, ann: User) -> None:
    for old, new in [(PASSWORD, OTHER_PASSWORD), (OTHER_PASSWORD, PASSWORD)]:
        kept = app.sessions.whoami(_login(app, "kept", old).access_token)
        outcomes = _change_among_logins(app, kept, old, new)
        assert {type(outcome) for outcome in outcomes} <= {type(None), TokenPair, InvalidCredentials}
        live = _live(store, ann.id)
        with_new = sum(isinstance(outcome, TokenPair) for outcome in outcomes[-20:])
        assert live == Counter(kept=1, new=with_new)
        app.sessions.end_all(kept, CLIENT, keep_current=False)


def _change_among_logins(app: AuthApp, kept: Principal, old: str, new: str) -> list[TokenPair | AuthError | None]:
    """One change, forty logins with the old password, twenty with the new; the outcomes in this order."""

    def change() -> None:
        app.accounts.change_password(kept, old, new, CLIENT)

    calls: list[Callable[[], TokenPair | None]] = [
        change,
        *[lambda: _login(app, "old", old)] * 40,
        *[lambda: _login(app, "new", new)] * 20,
    ]
    return _together(*calls)


def test_of_many_password_changes_one_succeeds(store: SqlStore, app: AuthApp, ann: User) -> None:
    principals = [app.sessions.whoami(_login(app, str(number)).access_token) for number in range(THREADS)]

    def change(number: int) -> Callable[[], int]:
        def run() -> int:
            app.accounts.change_password(principals[number], PASSWORD, f"{OTHER_PASSWORD} {number}", CLIENT)
            return number

        return run

    outcomes = _together(*(change(number) for number in range(THREADS)))
    assert _kinds(outcomes) == {int: 1, WrongPassword: THREADS - 1}
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, int))
    _login(app, "after", f"{OTHER_PASSWORD} {winner}")
    assert _live(store, ann.id) == {str(winner): 1, "after": 1}


# Links


def _sent(app: AuthApp, kind: MessageKind) -> str:
    """The token in the letter of this kind that is sent now."""
    mailer = RecordingMailer()
    build_mail_worker(app.settings, store=app.store, clock=app.mail_worker._clock, mailer=mailer).run_once()
    (token,) = [token_of(letter) for letter in mailer.letters if kind_of(letter) == kind]
    return token


@pytest.mark.usefixtures("ann")
def test_of_sixteen_uses_of_one_reset_link_one_wins_and_its_password_holds(store: SqlStore, app: AuthApp) -> None:
    app.password_reset.request(EMAIL, CLIENT)
    token = _sent(app, MessageKind.PASSWORD_RESET)

    def reset(number: int) -> Callable[[], int]:
        def run() -> int:
            app.password_reset.reset(token, f"{OTHER_PASSWORD} {number}", CLIENT)
            return number

        return run

    outcomes = _together(*(reset(number) for number in range(THREADS)))
    assert _kinds(outcomes) == {int: 1, InvalidResetToken: THREADS - 1}
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, int))
    _login(app, "after", f"{OTHER_PASSWORD} {winner}")
    kinds = Counter(event.kind for event in events_in(store))
    assert kinds[EventKind.PASSWORD_RESET] == 1
    assert Counter(found.kind for found in messages_in(store))[MessageKind.PASSWORD_CHANGED] == 1


def test_sixteen_uses_of_one_verification_link_verify_once(store: SqlStore, app: AuthApp, ann: User) -> None:
    principal = app.sessions.whoami(_login(app).access_token)
    token = _sent(app, MessageKind.EMAIL_VERIFICATION)
    outcomes = _together(*[lambda: app.email_verification.verify(token, CLIENT, principal=principal)] * THREADS)
    assert _kinds(outcomes) == {type(None): THREADS}
    assert account_in(store, ann.id).user.email_verified
    assert Counter(event.kind for event in events_in(store))[EventKind.EMAIL_VERIFIED] == 1


def test_of_many_who_want_one_address_one_gets_it(store: SqlStore, app: AuthApp) -> None:
    """Every link was sent while the address was free."""
    tokens = []
    for number in range(5):  # as many letters as an address is sent that nobody has proved
        email = f"user{number}@example.com"
        app.accounts.sign_up(email, PASSWORD, None, CLIENT)
        principal = app.sessions.whoami(app.authentication.login(email, PASSWORD, CLIENT).access_token)
        app.email_verification.request_change(principal, "wanted@example.com", PASSWORD, CLIENT)
        tokens.append(_sent(app, MessageKind.EMAIL_CHANGE))
    signup = [lambda: app.accounts.sign_up("wanted@example.com", PASSWORD, None, CLIENT)]
    confirms = [lambda token=token: app.email_verification.verify(token, CLIENT) for token in tokens]
    outcomes: list[Any] = _together(*confirms, *signup)
    confirmed = sum(outcome is None for outcome in outcomes[:-1])
    signed_up = isinstance(outcomes[-1], User)
    assert confirmed + signed_up == 1
    assert _kinds(outcomes[:-1])[InvalidVerificationToken] == len(tokens) - confirmed
    with store.reading() as read:
        assert read.users.by_email("wanted@example.com") is not None


@pytest.mark.usefixtures("ann")
def test_messages_to_one_user_that_are_prepared_at_once_respect_the_limit(store: SqlStore, app: AuthApp) -> None:
    app.mail_worker.run_once()
    for _ in range(THREADS):
        app.password_reset.request(EMAIL, CLIENT)
    waiting = [found for found in messages_in(store) if found.due_at]
    assert len(waiting) == THREADS
    prepare = app.mail_worker._composer.prepare
    letters = _together(*(lambda asked=asked: prepare(asked) for asked in waiting))
    sent = [letter for letter in letters if isinstance(letter, Letter)]
    # Fewer where a newer one came first: what it overtook is not sent at all.
    assert 1 <= len(sent) <= app.settings.mail.mail_limit
    assert _kinds(letters) == {Letter: len(sent), type(None): THREADS - len(sent)}
    kept = [found for found in messages_in(store) if found.kind is MessageKind.PASSWORD_RESET]
    assert {found.id for found in kept} == {letter.id for letter in sent}
    newest = max(sent, key=lambda letter: letter.id)
    assert newest.token is not None
    app.password_reset.reset(newest.token, OTHER_PASSWORD, CLIENT)


def test_two_messages_to_one_user_are_prepared_one_after_the_other(postgres_store: SqlStore) -> None:
    """The second comes when the first has counted, and not yet noted that it is one more."""
    mail = MailSettings(mail_limit=1)
    app = _app(postgres_store, mail=mail)
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    app.mail_worker.run_once()
    for _ in range(2):
        app.password_reset.request(EMAIL, CLIENT)
    older, newer = (found for found in messages_in(postgres_store) if found.due_at)
    with opened(url_of(postgres_store)) as store, ThreadPoolExecutor(1) as pool:
        second: list[Future[Letter | None]] = []

        def prepare_other() -> None:
            second.append(pool.submit(app.mail_worker._composer.prepare, newer))
            wait_for_blocked(postgres_store, unless=second[0].done)

        first = _app(store, mail=mail)
        with meanwhile(store, "INSERT INTO email_tokens", prepare_other):
            letter = first.mail_worker._composer.prepare(older)
        assert letter is not None
        assert second[0].result(10) is None


@pytest.mark.parametrize("kind", [MessageKind.PASSWORD_RESET, MessageKind.EMAIL_VERIFICATION, MessageKind.EMAIL_CHANGE])
def test_who_uses_a_link_holds_nothing_for_which_the_holder_of_its_user_waits(
    postgres_store: SqlStore, kind: MessageKind
) -> None:
    """The relay and a deletion hold the user and then change the tokens: in another order they would deadlock."""
    app = _app(postgres_store)
    ann = app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    assert ann is not None
    app.password_reset.request(EMAIL, CLIENT)
    principal = app.sessions.whoami(_login(app).access_token)
    app.email_verification.request_change(principal, "anna@example.com", PASSWORD, CLIENT)
    token = _sent(app, kind)
    uses: dict[MessageKind, Callable[[], object]] = {
        MessageKind.PASSWORD_RESET: lambda: app.password_reset.reset(token, OTHER_PASSWORD, CLIENT)
    }
    impatient = timedelta(milliseconds=500)  # half of what PostgreSQL lets pass before it looks for a deadlock
    with opened(url_of(postgres_store), timeout=impatient) as store, ThreadPoolExecutor(1) as pool:
        with store.begin() as work:
            assert work.users.lock(ann.id) is not None
            use = pool.submit(uses.get(kind, lambda: app.email_verification.verify(token, CLIENT, principal=principal)))
            wait_for_blocked(postgres_store)
            work.one_time_tokens.end_all(ann.id, at=START)
            work.commit()
        assert isinstance(use.exception(10), InvalidResetToken | InvalidVerificationToken)


# Leaving


def _left_behind(store: SqlStore, user_id: uuid.UUID) -> dict[str, int]:
    """The rows that still name a user, and the network addresses in what stays of the audit log."""
    with store.engine.connect() as connection:
        counted = {
            table.name: connection.scalar(select(func.count()).where(column == user_id)) or 0
            for table, column in (
                (users, users.c.id),
                (sessions, sessions.c.user_id),
                (outbox, outbox.c.user_id),
                (email_tokens, email_tokens.c.user_id),
            )
        }
    counted["addresses"] = sum(bool(event.ip) for event in events_in(store) if event.user_id == user_id)
    return {name: count for name, count in counted.items() if count}


def _delete_among_others(app: AuthApp, principals: list[Principal], pairs: list[TokenPair], link: str) -> Any:
    """One deletion, and fifteen other things that happen to the account at the same moment; how the deletion ended."""
    client = Origin(ip="192.0.2.7")
    calls: list[Callable[[], object]] = [
        lambda: app.accounts.delete(principals[0], PASSWORD, client),
        *[lambda: app.authentication.login(EMAIL, PASSWORD, client)] * 6,
        *[lambda own=own: app.sessions.refresh(own.refresh_token, client) for own in pairs],
        lambda: app.password_reset.reset(link, OTHER_PASSWORD, client),
        lambda: app.email_verification.request_change(principals[1], "anna@example.com", PASSWORD, client),
        lambda: app.accounts.rename(principals[2], "Anna", client),
        lambda: app.password_reset.request(EMAIL, client),
        app.mail_worker.run_once,
    ]
    outcome, *_others = _together(*calls)
    return outcome


def test_what_happens_at_the_moment_of_a_deletion_leaves_nothing_behind(store: SqlStore, app: AuthApp) -> None:
    for _ in range(4):
        ann = app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
        assert ann is not None
        app.password_reset.request(EMAIL, CLIENT)
        link = _sent(app, MessageKind.PASSWORD_RESET)
        pairs = [_login(app) for _ in range(4)]
        principals = [app.sessions.whoami(pair.access_token) for pair in pairs]
        outcome = _delete_among_others(app, principals, pairs, link)
        if outcome is not None:
            # The reset was faster: the session is over, and the password that was to confirm is another one now.
            assert isinstance(outcome, WrongPassword)
            again = app.sessions.whoami(_login(app, password=OTHER_PASSWORD).access_token)
            app.accounts.delete(again, OTHER_PASSWORD, CLIENT)
        app.housekeeper.run_once()
        assert _left_behind(store, ann.id) == {}
        app.mail_worker.run_once()
        assert [found for found in messages_in(store) if found.due_at] == [], "nor is anybody written to"
        for pair in pairs:
            with pytest.raises(InvalidToken):
                app.sessions.whoami(pair.access_token)


def test_of_many_deletions_at_once_one_is_recorded(store: SqlStore, app: AuthApp, ann: User) -> None:
    principals = [app.sessions.whoami(_login(app).access_token) for _ in range(THREADS)]
    outcomes = _together(*(lambda own=own: app.accounts.delete(own, PASSWORD, CLIENT) for own in principals))
    assert _kinds(outcomes)[type(None)] == 1
    assert set(_kinds(outcomes)) <= {type(None), InvalidToken, WrongPassword}
    assert Counter(event.kind for event in events_in(store))[EventKind.ACCOUNT_DELETED] == 1
    app.housekeeper.run_once()
    assert _left_behind(store, ann.id) == {}


# Logging in


def test_parallel_logins_at_the_limit_of_sessions_all_succeed(store: SqlStore, ann: User) -> None:
    app = _app(store, tokens=TokenSettings(session_limit=3))
    outcomes = _together(*[lambda: _login(app)] * 48)
    assert _kinds(outcomes) == {TokenPair: 48}
    _login(app)
    assert _live(store, ann.id).total() == 3


def test_two_logins_at_once_do_not_exceed_the_limit_of_sessions(postgres_store: SqlStore) -> None:
    """The second comes when the first has counted the sessions and not yet added its own."""
    app = _app(postgres_store, tokens=TokenSettings(session_limit=1))
    ann = app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    with opened(url_of(postgres_store)) as store, ThreadPoolExecutor(1) as pool:
        second: list[Future[TokenPair]] = []

        def log_in() -> None:
            second.append(pool.submit(_login, app))
            wait_for_blocked(postgres_store, unless=second[0].done)

        first = _app(store, tokens=TokenSettings(session_limit=1))
        with meanwhile(store, "INSERT INTO sessions", log_in):
            _login(first)
        second[0].result(10)
    assert ann is not None
    assert _live(postgres_store, ann.id).total() == 1


# Keys


def test_rings_that_start_at_the_same_moment_make_one_key(store: SqlStore) -> None:
    for _ in range(4):
        rings = [build_key_ring(make_settings(), store=store, clock=FakeClock(START)) for _ in range(THREADS)]
        outcomes = _together(*(ring.ensure for ring in rings))
        assert _kinds(outcomes) == {type(None): THREADS}
        with store.begin() as work:
            stored = work.keys.all()
            for key in stored:
                work.keys.remove(key.kid)
            work.commit()
        assert [key.number for key in stored] == [1]
        assert {ring.signer()[0].kid for ring in rings} == {stored[0].kid}


def test_services_that_start_at_the_same_moment_believe_each_other(store: SqlStore) -> None:
    """Nobody made a key before: the first logins do, on services that know nothing of each other."""
    apps = [build(make_settings(throttling=AMPLE), store=store, clock=FakeClock(START)) for _ in range(THREADS)]
    apps[0].accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    outcomes = _together(*(lambda own=own: _login(own) for own in apps))
    assert _kinds(outcomes) == {TokenPair: THREADS}
    for app in apps:
        for pair in outcomes:
            assert isinstance(pair, TokenPair)
            assert app.sessions.whoami(pair.access_token).user.email == EMAIL
