"""The counters of the throttle, and a hundred who guess at once."""

from __future__ import annotations

import re
import threading
from collections import Counter as CounterStore
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any

import pytest
from psycopg.errors import DeadlockDetected
from sqlalchemy import event, select
from sqlalchemy.exc import DBAPIError

from core.accounts.errors import InvalidResetToken
from core.app import AuthApp, build
from core.authentication.errors import InvalidCredentials, WrongPassword
from core.errors import AuthError, DatabaseUnavailable, InvalidToken
from core.oauth.errors import InvalidClient
from core.oauth.model import Credentials
from core.origin import Origin
from core.sessions.model import Principal, TokenPair
from core.settings.groups import PasswordSettings, ThrottleSettings
from core.sql_store import SqlStore
from core.throttling.errors import TooManyAttempts
from core.throttling.model import RECORDED_REFUSALS, Counter
from core.throttling.sql import throttle_counters
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.database_faults import meanwhile, opened, url_of, wait_for_blocked, within
from tests.support.settings import make_settings
from tests.support.values import NOW, TICK

ALLOWANCE = 5
PATIENT = timedelta(seconds=30)  # a hundred commits to a slow disk, one after the other, are no outage


def hold(store: SqlStore, *keys: str, now: datetime = NOW) -> dict[str, Counter]:
    """Look at counters and leave them as they are."""
    with store.begin() as work:
        return dict(work.counters.lock(keys, now=now))


def put(store: SqlStore, key: str, counter: Counter, *, expires_at: datetime) -> None:
    with store.begin() as work:
        work.counters.lock([key], now=NOW)
        work.counters.save(key, counter, expires_at=expires_at)
        work.commit()


def keys_in(store: SqlStore) -> set[str]:
    with store.engine.connect() as connection:
        return set(connection.execute(select(throttle_counters.c.key)).scalars())


def purge(store: SqlStore, *, now: datetime = NOW, limit: int = 100) -> int:
    with store.begin() as work:
        count = work.counters.purge(now=now, limit=limit)
        work.commit()
    return count


# The port


def test_a_new_counter_stands_at_nothing(store: SqlStore) -> None:
    assert hold(store, "one") == {"one": Counter(count=0, at=NOW)}


def test_a_counter_is_as_it_was_put(store: SqlStore) -> None:
    at, until = NOW + TICK, NOW + timedelta(days=90)
    put(store, "one", Counter(count=7, at=at, familiar_until=until), expires_at=until)
    put(store, "two", Counter(count=2**31 - 1, at=NOW), expires_at=until)
    assert hold(store, "two", "one", "three", now=NOW + timedelta(hours=1)) == {
        "one": Counter(count=7, at=at, familiar_until=until),
        "two": Counter(count=2**31 - 1, at=NOW),
        "three": Counter(count=0, at=NOW + timedelta(hours=1)),
    }


def test_a_counter_can_be_put_twice_and_the_last_counts(store: SqlStore) -> None:
    with store.begin() as work:
        work.counters.lock(["one"], now=NOW)
        work.counters.save("one", Counter(count=1, at=NOW, familiar_until=NOW), expires_at=NOW)
        work.counters.save("one", Counter(count=2, at=NOW + TICK), expires_at=NOW)
        assert work.counters.lock(["one"], now=NOW) == {"one": Counter(count=2, at=NOW + TICK)}
        work.commit()
    assert hold(store, "one") == {"one": Counter(count=2, at=NOW + TICK)}


def test_without_a_commit_nothing_is_counted(store: SqlStore) -> None:
    with store.begin() as work:
        work.counters.lock(["one"], now=NOW)
        work.counters.save("one", Counter(count=1, at=NOW), expires_at=NOW + TICK)
    assert keys_in(store) == set()
    assert hold(store, "one")["one"].count == 0


def test_counters_are_purged_when_they_say_nothing_any_more(store: SqlStore) -> None:
    put(store, "expired", Counter(count=1, at=NOW), expires_at=NOW - TICK)
    put(store, "expiring", Counter(count=1, at=NOW), expires_at=NOW)
    put(store, "kept", Counter(count=1, at=NOW), expires_at=NOW + TICK)
    assert purge(store) == 1
    assert keys_in(store) == {"expiring", "kept"}
    assert purge(store) == 0


def test_a_purge_takes_no_more_than_its_limit(store: SqlStore) -> None:
    for number in range(7):
        put(store, f"key {number}", Counter(count=1, at=NOW), expires_at=NOW - TICK)
    assert [purge(store, limit=3) for _ in range(4)] == [3, 3, 1, 0]


def test_a_counter_that_was_purged_begins_anew(store: SqlStore) -> None:
    put(store, "one", Counter(count=9, at=NOW, familiar_until=NOW), expires_at=NOW - TICK)
    purge(store)
    assert hold(store, "one") == {"one": Counter(count=0, at=NOW)}


# Held


@pytest.mark.parametrize("exists", [True, False])
def test_who_comes_second_waits_and_sees_what_the_first_has_put(store: SqlStore, *, exists: bool) -> None:
    if exists:
        put(store, "one", Counter(count=1, at=NOW), expires_at=NOW)
    count = int(exists)
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as work:
            assert work.counters.lock(["one"], now=NOW)["one"].count == count
            second = pool.submit(hold, store, "one")
            if store.engine.dialect.name == "postgresql":
                wait_for_blocked(store, unless=second.done)
            assert not second.done()
            work.counters.save("one", Counter(count=count + 1, at=NOW), expires_at=NOW)
            work.commit()
        assert second.result(10)["one"].count == count + 1


def test_other_counters_are_not_held_up(postgres_store: SqlStore) -> None:
    with ThreadPoolExecutor(1) as pool, postgres_store.begin() as work:
        work.counters.lock(["one"], now=NOW)
        with within(2):
            assert pool.submit(hold, postgres_store, "two").result(10)["two"].count == 0


def test_a_purge_passes_over_what_somebody_holds(postgres_store: SqlStore) -> None:
    for key in ("held", "free"):
        put(postgres_store, key, Counter(count=1, at=NOW), expires_at=NOW - TICK)
    with ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as work:
            work.counters.lock(["held"], now=NOW)
            with within(2):
                assert pool.submit(purge, postgres_store).result(10) == 1
            work.counters.save("held", Counter(count=2, at=NOW), expires_at=NOW + TICK)
            work.commit()
        assert keys_in(postgres_store) == {"held"}
        assert purge(postgres_store) == 0


def test_a_counter_that_is_purged_while_it_is_being_held_begins_anew(postgres_store: SqlStore) -> None:
    """The purge comes when the row was found to be there and is not locked yet."""
    put(postgres_store, "one", Counter(count=9, at=NOW), expires_at=NOW - TICK)
    with opened(url_of(postgres_store)) as other:
        purging = meanwhile(postgres_store, "SELECT throttle_counters", lambda: purge(other))
        with purging if _asks_again(postgres_store) else _nothing():
            found = hold(postgres_store, "one", "two")
    assert set(found) == {"one", "two"}


def _asks_again(store: SqlStore) -> bool:
    """Whether counters are held in more than one statement, so that something can come between."""
    heard: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        heard.append(statement)

    event.listen(store.engine, "before_cursor_execute", hear)
    try:
        hold(store, "three")
    finally:
        event.remove(store.engine, "before_cursor_execute", hear)
    return any(statement.startswith("SELECT throttle_counters") for statement in heard)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


# Looked at


def look(store: SqlStore, *keys: str, now: datetime = NOW) -> dict[str, Counter]:
    with store.reading() as read:
        return dict(read.counters.read(keys, now=now))


def test_counters_that_are_looked_at_are_as_they_were_put_and_new_ones_stand_at_nothing(store: SqlStore) -> None:
    known = Counter(count=7, at=NOW + TICK, since=NOW, familiar_until=NOW + timedelta(days=90))
    put(store, "one", known, expires_at=NOW + TICK)
    later = NOW + timedelta(hours=1)
    assert look(store, "two", "one", now=later) == {"one": known, "two": Counter(count=0, at=later)}


def test_a_look_makes_no_counter(store: SqlStore) -> None:
    look(store, "one")
    assert keys_in(store) == set()


def test_a_look_waits_for_nobody_and_sees_what_was_committed(store: SqlStore) -> None:
    put(store, "one", Counter(count=1, at=NOW), expires_at=NOW + TICK)
    with opened(url_of(store)) as other, other.begin() as work:
        work.counters.lock(["one"], now=NOW)
        work.counters.save("one", Counter(count=2, at=NOW), expires_at=NOW + TICK)
        assert look(store, "one") == {"one": Counter(count=1, at=NOW)}


# A hundred at once


class Verified:
    """Counts how many passwords are really looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def spy_on(self, app: AuthApp) -> AuthApp:
        passwords = app.authentication._passwords
        original = passwords.verify

        def verify(password: str, stored: str | None) -> bool:
            with self._lock:
                self.count += 1
            return original(password, stored)

        passwords.verify = verify  # type: ignore[method-assign]  # one object for logins and confirmations
        return app


def an_app(store: SqlStore, mailer: Any = None, **allowances: Any) -> AuthApp:
    settings = make_settings(
        passwords=PasswordSettings(bcrypt_cost=4, hash_concurrency=16, hash_wait=timedelta(seconds=60)),
        throttling=ThrottleSettings(**allowances),
    )
    app = build(settings, store=store, clock=FakeClock(START), mailer=mailer)
    app.keys.ensure()
    return app


@pytest.fixture
def patient(store: SqlStore) -> Iterator[SqlStore]:
    with opened(url_of(store), timeout=PATIENT) as other:
        yield other


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Each call in a thread of its own, all started at one moment; their answers and refusals."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait(30)
        try:
            return call()
        except AuthError as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(120) for future in [pool.submit(run, call) for call in calls]]


def kinds(outcomes: Sequence[Any]) -> CounterStore[type]:
    return CounterStore(type(outcome) for outcome in outcomes)


def test_of_a_hundred_guesses_at_once_the_allowance_is_looked_at(patient: SqlStore) -> None:
    verified = Verified()
    app = verified.spy_on(an_app(patient))
    app.accounts.sign_up(EMAIL, PASSWORD, None, Origin())
    outcomes = at_once(
        [partial(app.authentication.login, EMAIL, f"guess number {number}", Origin()) for number in range(100)]
    )
    assert kinds(outcomes) == {InvalidCredentials: ALLOWANCE, TooManyAttempts: 100 - ALLOWANCE}
    assert verified.count == ALLOWANCE


def test_processes_that_know_nothing_of_each_other_count_together(patient: SqlStore) -> None:
    verified = Verified()
    with opened(url_of(patient), timeout=PATIENT) as one, opened(url_of(patient), timeout=PATIENT) as two:
        apps = [verified.spy_on(an_app(store)) for store in (patient, one, two)]
        apps[0].accounts.sign_up(EMAIL, PASSWORD, None, Origin())
        outcomes = at_once(
            [partial(own.authentication.login, EMAIL, OTHER_PASSWORD, Origin()) for own in apps for _ in range(10)]
        )
    assert kinds(outcomes) == {InvalidCredentials: ALLOWANCE, TooManyAttempts: 30 - ALLOWANCE}
    assert verified.count == ALLOWANCE


def test_guesses_at_every_door_to_the_password_share_one_allowance(patient: SqlStore) -> None:
    verified = Verified()
    app = verified.spy_on(an_app(patient))
    app.accounts.sign_up(EMAIL, PASSWORD, None, Origin())
    ann = app.sessions.whoami(app.authentication.login(EMAIL, PASSWORD, Origin()).access_token)
    verified.count = 0

    def log_in() -> TokenPair:
        return app.authentication.login(EMAIL, OTHER_PASSWORD, Origin())

    def change() -> None:
        app.accounts.change_password(ann, OTHER_PASSWORD, "yet another sentence", Origin())

    def delete() -> None:
        app.accounts.delete(ann, OTHER_PASSWORD, Origin())

    def move() -> None:
        app.email_verification.request_change(ann, "ann@example.org", OTHER_PASSWORD, Origin())

    outcomes = kinds(at_once([log_in, change, delete, move] * 8))
    assert outcomes[TooManyAttempts] == 32 - ALLOWANCE
    assert outcomes[InvalidCredentials] + outcomes[WrongPassword] == ALLOWANCE
    assert verified.count == ALLOWANCE


def test_guesses_from_many_addresses_at_once_stay_within_the_strangers_allowance(patient: SqlStore) -> None:
    verified = Verified()
    app = verified.spy_on(an_app(patient, throttle_strangers=7))
    app.accounts.sign_up(EMAIL, PASSWORD, None, Origin())
    outcomes = at_once(
        [
            partial(app.authentication.login, EMAIL, OTHER_PASSWORD, Origin(ip=f"198.51.100.{number}"))
            for number in range(40)
        ]
    )
    assert kinds(outcomes) == {InvalidCredentials: 7, TooManyAttempts: 33}
    assert verified.count == 7


# Who is refused


def log_in(app: AuthApp) -> None:
    app.authentication.login(EMAIL, OTHER_PASSWORD, Origin())


def sign_up(app: AuthApp) -> None:
    app.accounts.sign_up(EMAIL, PASSWORD, None, Origin())


def ask_for_reset(app: AuthApp) -> None:
    app.password_reset.request(EMAIL, Origin())


def come_as_a_client(app: AuthApp) -> None:
    app.clients.authenticate(Credentials(client_id="twc_unknown", secret="a guess"), Origin())


def spend(app: AuthApp, ask: Callable[[AuthApp], None], times: int) -> None:
    for _ in range(times):
        with suppress(InvalidCredentials, InvalidClient):
            ask(app)


@pytest.mark.parametrize(
    ("ask", "settings", "times", "refusal"),
    [
        (log_in, {}, ALLOWANCE, TooManyAttempts),
        (sign_up, {"throttle_signups": 1}, 1, TooManyAttempts),
        (ask_for_reset, {"throttle_mail": 1}, 1, TooManyAttempts),
        (come_as_a_client, {}, RECORDED_REFUSALS, InvalidClient),
        (come_as_a_client, {"throttle": False}, RECORDED_REFUSALS, InvalidClient),
    ],
    ids=["login", "signup", "request for mail", "client", "client without a throttle"],
)
def test_who_is_refused_waits_for_nobody_who_counts(
    store: SqlStore,
    ask: Callable[[AuthApp], None],
    settings: dict[str, Any],
    times: int,
    refusal: type[AuthError],
) -> None:
    """The lock is never given up here: who waited for it would be told that the database is not available."""
    app = an_app(store, **settings)
    spend(app, ask, times)
    keys = sorted(keys_in(store))
    with opened(url_of(store)) as other, other.begin() as work:
        work.counters.lock(keys, now=START)
        with pytest.raises(refusal):
            ask(app)


def test_an_attempt_that_saw_an_allowance_is_refused_where_others_spend_it_before_it_is_counted(
    store: SqlStore,
) -> None:
    first_of_counting = "BEGIN" if store.engine.dialect.name == "sqlite" else "INSERT INTO throttle_counters"
    app = an_app(store)
    with opened(url_of(store)) as other:
        rivals = an_app(other)
        spending = meanwhile(store, first_of_counting, lambda: spend(rivals, log_in, ALLOWANCE))
        with spending, pytest.raises(TooManyAttempts):
            log_in(app)


# In each other's way


class Letters:
    """What was sent, in place of a mail server."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}

    def send(self, email: EmailMessage) -> None:
        found = re.search(r"/reset-password#?\S*(twm_[\w-]{32})", str(email.get_body()))
        if found is not None:
            self.tokens[str(email["To"])] = found[1]

    def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def undone(store: SqlStore) -> Iterator[list[str]]:
    """What the database undoes meanwhile, and why; use cases run such work again, unseen."""
    seen: list[str] = []

    def note(context: Any) -> None:
        if isinstance(context.sqlalchemy_exception, DBAPIError):
            seen.append(type(context.original_exception).__name__)

    event.listen(store.engine, "handle_error", note)
    try:
        yield seen
    finally:
        event.remove(store.engine, "handle_error", note)


def test_logins_guesses_resets_and_deletions_do_not_hinder_each_other(patient: SqlStore) -> None:
    """All from one address, so that all of them want its counter, each with others of its own."""
    letters = Letters()
    app = an_app(patient, letters, throttle_account=1000, throttle_block=100_000)
    emails = [f"user{number}@example.com" for number in range(6)]
    people: list[Principal] = []
    for email in emails:
        app.accounts.sign_up(email, PASSWORD, None, Origin())
        people.append(app.sessions.whoami(app.authentication.login(email, PASSWORD, Origin()).access_token))
        app.password_reset.request(email, Origin())
    app.mail_worker.run_once()
    assert set(letters.tokens) == set(emails)

    calls: list[Callable[[], Any]] = []
    for email, person in zip(emails, people, strict=True):
        calls += [partial(app.authentication.login, email, PASSWORD, Origin())] * 5
        calls += [partial(app.authentication.login, email, OTHER_PASSWORD, Origin())] * 5
        calls += [partial(app.password_reset.reset, letters.tokens[email], OTHER_PASSWORD, Origin())] * 2
        calls.append(partial(app.accounts.delete, person, PASSWORD, Origin()))
        calls.append(partial(app.accounts.change_password, person, PASSWORD, "yet another one", Origin()))
    calls += [lambda: purge(patient, now=START + timedelta(days=1000))] * 4
    with undone(patient) as failures:
        outcomes = at_once(calls)
    assert set(kinds(outcomes)) <= {
        TokenPair,
        InvalidCredentials,
        type(None),
        InvalidResetToken,
        WrongPassword,
        InvalidToken,
        int,
    }
    assert DeadlockDetected.__name__ not in failures


# When the database refuses


def test_a_right_password_that_the_database_had_no_time_for_is_no_failure(postgres_store: SqlStore) -> None:
    """Somebody holds the user's row too long, as a failover does: each login is answered 503, and that is all."""
    with opened(url_of(postgres_store), timeout=timedelta(milliseconds=200)) as impatient:
        passwords = PasswordSettings(bcrypt_cost=4)
        app = build(make_settings(passwords=passwords), store=impatient, clock=FakeClock(START))
        ann = app.accounts.sign_up(EMAIL, PASSWORD, None, Origin())
        assert ann is not None
        app.keys.ensure()
        with postgres_store.begin() as work:
            work.users.lock(ann.id)
            for _ in range(ALLOWANCE + 1):
                with pytest.raises(DatabaseUnavailable):
                    app.authentication.login(EMAIL, PASSWORD, Origin())
        app.authentication.login(EMAIL, PASSWORD, Origin())
