"""The worker over every store: at least once each, never forgotten, and nothing held up by what fails."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.app import build_mail_worker
from core.errors import DatabaseUnavailable, TransactionConflict
from core.mail.model import Message, MessageKind
from core.mail.model import message as new_message
from core.mail.one_time_tokens import digest_of
from core.mail.texts import editions
from core.mail.transports import MailError, MailRefused, recipient_of
from core.mail.worker import LEASE_ANSWERS, MailWorker
from core.origin import Origin
from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from core.store import Store, UnitOfWork
from core.users.model import Account
from tests.support.clock import START, FakeClock
from tests.support.database_faults import end_connections, locked_by_another_process, mortal, opened, url_of
from tests.support.mail import kind_of, parsed, token_of
from tests.support.settings import make_settings
from tests.support.values import TICK, account, message, message_in, messages_in, stored, tokens_of

LEASE = MailSettings().smtp_timeout * LEASE_ANSWERS
DAY = timedelta(days=1)


@dataclass
class ScriptedMailer:
    """Does what the script says for one e-mail after another, and then takes everything.

    A step that is an exception is raised; one that is called acts while the e-mail is under way.
    """

    script: list[Exception | Callable[[], object] | None] = field(default_factory=list)
    sent: list[EmailMessage] = field(default_factory=list)
    tried: list[EmailMessage] = field(default_factory=list)
    is_closed: bool = False

    def send(self, email: EmailMessage) -> None:
        read = parsed(email.as_bytes())
        self.tried.append(read)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            step()
        self.sent.append(read)

    def close(self) -> None:
        self.is_closed = True


class FlakyStore:
    """A store whose next transactions fail as the script says."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.script: list[Exception | None] = []
        self.reading: Callable[[], AbstractContextManager[UnitOfWork]] = store.reading
        self.check, self.close = store.check, store.close
        self.on_message, self.on_leftovers = store.on_message, store.on_leftovers
        self.erase_deleted = store.erase_deleted

    @contextmanager
    def begin(self, account: uuid.UUID | None = None, *, turn_within: timedelta | None = None) -> Iterator[UnitOfWork]:
        failure = self.script.pop(0) if self.script else None
        if failure is not None:
            raise failure
        with self._store.begin(account, turn_within=turn_within) as work:
            yield work


@dataclass
class Setup:
    """A worker on a store, with a user to write to."""

    store: SqlStore
    clock: FakeClock = field(default_factory=FakeClock)
    mailer: ScriptedMailer = field(default_factory=ScriptedMailer)
    ann: Account = field(default_factory=partial(account, email_verified=True))

    def worker(self, mailer: ScriptedMailer | None = None, store: Store | None = None, **mail: Any) -> MailWorker:
        settings = make_settings(mail=MailSettings(**mail))
        return build_mail_worker(settings, store=store or self.store, clock=self.clock, mailer=mailer or self.mailer)

    def ask(self, kind: MessageKind = MessageKind.PASSWORD_CHANGED) -> Message:
        """Store a message to Ann, a second after the one before."""
        self.clock.advance(seconds=1)
        origin = Origin(ip="192.0.2.7", request_id="a-request")
        asked = new_message(kind, at=self.clock.now(), origin=origin, user_id=self.ann.user.id)
        stored(self.store, asked)
        return asked

    def now(self, asked: Message) -> Message:
        return message_in(self.store, asked.id)

    def is_sent(self, asked: Message) -> bool:
        return self.now(asked).sent_at is not None


@pytest.fixture
def setup(store: SqlStore) -> Setup:
    made = Setup(store)
    stored(store, made.ann)
    return made


def _ids(emails: list[EmailMessage]) -> list[uuid.UUID]:
    return [uuid.UUID(str(email["Message-ID"])[1:].partition("@")[0]) for email in emails]


# What is due


def test_everything_that_is_due_is_sent_oldest_first_and_only_once(setup: Setup) -> None:
    asked = [setup.ask() for _ in range(3)]
    worker = setup.worker()
    assert worker.run_once() == 3
    assert _ids(setup.mailer.sent) == [one.id for one in asked]
    assert {recipient_of(email) for email in setup.mailer.sent} == {"ann@example.com"}
    assert worker.run_once() == 0
    assert {found.sent_at for found in messages_in(setup.store)} == {setup.clock.now()}


def test_what_is_not_due_is_left(setup: Setup) -> None:
    stored(setup.store, message(user_id=setup.ann.user.id, due_at=setup.clock.now() + TICK))
    assert setup.worker().run_once() == 0
    assert setup.mailer.tried == []


def test_what_is_not_to_be_sent_is_no_mail_and_is_gone(setup: Setup) -> None:
    stored(setup.store, message(MessageKind.PASSWORD_RESET, canonical_email="nobody@example.com", due_at=START))
    asked = setup.ask()
    assert setup.worker().run_once() == 2
    assert _ids(setup.mailer.sent) == [asked.id]
    assert [found.id for found in messages_in(setup.store)] == [asked.id]


def test_what_is_sent_keeps_nothing_personal(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    setup.worker().run_once()
    found = setup.now(asked)
    assert (found.canonical_email, found.address, found.facts, found.seed) == (None, None, {}, b"")


def test_a_lease_lasts_for_a_whole_conversation_of_slow_answers(setup: Setup) -> None:
    assert setup.worker(smtp_timeout=timedelta(seconds=7)).lease == timedelta(seconds=84)


# What fails for now


def test_what_failed_is_tried_again_after_pauses_that_double_and_an_hour_at_most(setup: Setup) -> None:
    asked = setup.ask()
    worker = setup.worker(mail_attempts=14)
    longest = [5 * 2**number for number in range(10)] + [3600] * 3
    for attempt, seconds in enumerate(longest, 1):
        setup.mailer.script = [MailError("message refused: 451")]
        assert worker.run_once() == 1
        found = setup.now(asked)
        assert (found.attempts, found.last_error) == (attempt, "message refused: 451")
        assert found.due_at is not None
        pause = found.due_at - setup.clock.now()
        assert timedelta(seconds=seconds / 2) <= pause <= timedelta(seconds=seconds)
        assert worker.run_once() == 0, "it waits"
        setup.clock.at = found.due_at
    assert worker.run_once() == 1
    assert setup.is_sent(asked)


def test_every_attempt_sends_the_same_letter(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    setup.mailer.script = [MailError("away")] * 3
    worker = setup.worker()
    for _ in range(4):
        worker.run_once()
        setup.clock.advance(minutes=5)
    assert _ids(setup.mailer.tried) == [asked.id] * 4
    assert len({token_of(email) for email in setup.mailer.tried}) == 1
    (token,) = tokens_of(setup.store, setup.ann.user.id)
    assert token.digest == digest_of(token_of(setup.mailer.sent[0]))


def test_what_fails_does_not_hold_up_what_is_behind_it(setup: Setup) -> None:
    failing, good = setup.ask(), setup.ask()
    setup.mailer.script = [MailError("away")]
    assert setup.worker().run_once() == 2
    assert not setup.is_sent(failing)
    assert setup.is_sent(good)


# What is given up


def test_after_the_last_attempt_a_message_is_a_dead_letter_and_not_tried_again(setup: Setup) -> None:
    asked = setup.ask()
    setup.mailer.script = [MailError("message refused: 451")] * 9
    worker = setup.worker(mail_attempts=3)
    for _ in range(5):
        worker.run_once()
        setup.clock.advance(hours=2)
    assert len(setup.mailer.tried) == 3
    found = setup.now(asked)
    assert (found.attempts, found.due_at, found.last_error) == (3, None, "message refused: 451")
    assert found.dead_at == START + timedelta(seconds=1, hours=4)


def test_the_last_attempt_may_still_succeed(setup: Setup) -> None:
    asked = setup.ask()
    setup.mailer.script = [MailError("away")] * 2
    worker = setup.worker(mail_attempts=3)
    for _ in range(3):
        worker.run_once()
        setup.clock.advance(hours=2)
    assert setup.is_sent(asked)


def test_what_is_refused_for_good_is_a_dead_letter_at_once(setup: Setup) -> None:
    refused, good = setup.ask(), setup.ask()
    setup.mailer.script = [MailRefused("recipient refused: 550")]
    assert setup.worker().run_once() == 2
    found = setup.now(refused)
    assert (found.attempts, found.due_at, found.dead_at) == (1, None, setup.clock.now())
    assert found.last_error == "recipient refused: 550"
    assert setup.is_sent(good)


def test_a_dead_letter_that_is_revived_is_sent_with_the_same_token(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    setup.mailer.script = [MailRefused("recipient refused: 550")]
    worker = setup.worker()
    worker.run_once()
    with setup.store.begin() as work:
        work.outbox.retry(asked.id, at=setup.clock.now())
        work.commit()
    assert worker.run_once() == 1
    assert token_of(setup.mailer.sent[0]) == token_of(setup.mailer.tried[0])


# What cannot be written


@pytest.mark.parametrize(
    "template",
    ["{{ nothing_of_this_name }}", "{% include layouts %}", "{% include 'no such file' %}", "{{ 1 / 0 }}"],
)
def test_a_broken_template_does_not_stop_the_mail_behind_it(setup: Setup, tmp_path: Path, template: str) -> None:
    """What fails for everybody is refused at the start; a template may fail for some."""
    whole = (editions.HERE / "letters" / "password_changed.jinja").read_text()
    for_ann = f"{{% if address == 'ann@example.com' %}}{template}{{% endif %}}"
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "password_changed.jinja").write_text(
        whole.replace("{% block subject %}", f"{{% block subject %}}{for_ann}")
    )
    broken, good = setup.ask(), setup.ask(MessageKind.SESSION_ENDED)
    assert setup.worker(texts_dir=tmp_path).run_once() == 2
    assert [kind_of(email) for email in setup.mailer.sent] == ["session_ended"]
    found = setup.now(broken)
    assert found.due_at is not None
    assert (found.attempts, found.dead_at) == (1, None)
    assert found.last_error
    assert setup.is_sent(good)
    setup.clock.at = found.due_at
    setup.worker().run_once()
    assert setup.is_sent(broken), "it is sent once the template is mended"


def test_what_a_mailer_never_promised_to_raise_does_not_stop_the_mail_behind_it(setup: Setup) -> None:
    failing, good = setup.ask(), setup.ask()
    setup.mailer.script = [RuntimeError("ann@example.com")]
    setup.worker().run_once()
    assert setup.now(failing).last_error == "RuntimeError", "the text may hold anything"
    assert setup.is_sent(good)


def test_what_never_can_be_written_is_given_up_in_the_end(setup: Setup) -> None:
    asked = setup.ask()
    setup.mailer.script = [RuntimeError()] * 9
    worker = setup.worker(mail_attempts=2)
    for _ in range(4):
        worker.run_once()
        setup.clock.advance(hours=2)
    assert setup.now(asked).dead_at is not None
    assert len(setup.mailer.tried) == 2


# A database that is away


def _away(setup: Setup, *script: Exception | None) -> tuple[FlakyStore, MailWorker]:
    """The transactions of one message are its claim, its preparation and its outcome."""
    flaky = FlakyStore(setup.store)
    flaky.script = list(script)
    return flaky, setup.worker(store=flaky)


def test_a_message_that_could_not_be_claimed_is_due_as_before(setup: Setup) -> None:
    asked = setup.ask()
    _flaky, worker = _away(setup, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        worker.run_once()
    assert setup.now(asked) == asked
    assert worker.run_once() == 1


def test_a_message_that_could_not_be_prepared_is_due_again_after_its_lease(setup: Setup) -> None:
    asked = setup.ask()
    _flaky, worker = _away(setup, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        worker.run_once()
    assert setup.mailer.tried == []
    assert worker.run_once() == 0
    setup.clock.at += LEASE
    assert worker.run_once() == 1
    assert setup.is_sent(asked)


def test_a_message_whose_sending_could_not_be_noted_is_sent_again_and_known_by_its_id(setup: Setup) -> None:
    """At least once, and not at most once; the recipient's server may tell by the Message-ID."""
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    _flaky, worker = _away(setup, None, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        worker.run_once()
    setup.clock.at += LEASE
    assert worker.run_once() == 1
    assert _ids(setup.mailer.sent) == [asked.id] * 2
    assert len({token_of(email) for email in setup.mailer.sent}) == 1
    assert setup.is_sent(asked)


@pytest.mark.parametrize(
    "failure", [MailError("away"), MailRefused("recipient refused: 550"), RuntimeError()], ids=repr
)
def test_a_message_whose_failure_could_not_be_noted_is_due_again_after_its_lease(
    setup: Setup, failure: Exception
) -> None:
    asked = setup.ask()
    setup.mailer.script = [failure]
    _flaky, worker = _away(setup, None, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        worker.run_once()
    setup.clock.at += LEASE
    worker.run_once()
    assert setup.is_sent(asked)


def test_a_database_that_is_away_is_no_failed_attempt(setup: Setup) -> None:
    """The database's trouble is not the message's: it is not postponed on top of its lease."""
    asked = setup.ask()
    _flaky, worker = _away(setup, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        worker.run_once()
    assert setup.now(asked).due_at == setup.clock.now() + LEASE
    assert setup.now(asked).last_error is None


@pytest.mark.parametrize("position", range(3), ids=["claim", "preparation", "outcome"])
def test_what_the_database_undid_is_done_again_and_the_mail_is_sent_once(setup: Setup, position: int) -> None:
    asked = setup.ask()
    _flaky, worker = _away(setup, *[None] * position, TransactionConflict())
    assert worker.run_once() == 1
    assert _ids(setup.mailer.sent) == [asked.id]
    assert setup.is_sent(asked)


def test_the_first_run_after_a_restart_of_the_server_sends(postgres_store: SqlStore) -> None:
    with mortal(postgres_store) as store:
        setup = Setup(store)
        stored(store, setup.ann)
        asked = [setup.ask() for _ in range(2)]
        worker = setup.worker()
        setup.mailer.script = [lambda: end_connections(store)]
        assert worker.run_once() == 2
        assert _ids(setup.mailer.sent) == [one.id for one in asked]
        assert all(map(setup.is_sent, asked))


def test_an_sqlite_file_that_another_process_writes_to_is_away_only_where_mail_waits(sqlite_store: SqlStore) -> None:
    with opened(url_of(sqlite_store), timeout=timedelta(milliseconds=200)) as store:
        setup = Setup(store)
        stored(store, setup.ann)
        worker = setup.worker()
        with locked_by_another_process(store):
            assert worker.run_once() == 0, "a look takes no lock"
        asked = setup.ask()
        with locked_by_another_process(store), pytest.raises(DatabaseUnavailable):
            worker.run_once()
        worker.run_once()
        assert setup.is_sent(asked)


# Worker that end, and that are slow


class KilledError(BaseException):
    """What no `except Exception` catches."""


def test_a_worker_that_is_killed_gives_its_message_back_by_doing_nothing(setup: Setup) -> None:
    def die() -> None:
        raise KilledError

    asked = setup.ask()
    setup.mailer.script = [die]
    with pytest.raises(KilledError):
        setup.worker().run_once()
    assert setup.worker().run_once() == 0
    setup.clock.at += LEASE
    assert setup.worker().run_once() == 1
    assert setup.is_sent(asked)


def _overtaken(setup: Setup, slow_ends: Exception | None, *fast_script: Exception | None) -> ScriptedMailer:
    """A worker whose attempt outlives its lease, while another one makes the next attempt."""
    fast = ScriptedMailer(list(fast_script))

    def be_slow() -> None:
        setup.clock.at += LEASE
        assert setup.worker(fast, mail_attempts=2).run_once() == 1
        if slow_ends is not None:
            raise slow_ends

    setup.mailer.script = [be_slow]
    setup.worker(mail_attempts=2).run_once()
    return fast


@pytest.mark.parametrize("slow_ends", [MailError("late"), MailRefused("late"), RuntimeError(), None], ids=repr)
def test_an_attempt_that_outlives_its_lease_cannot_undo_that_the_next_one_sent(
    setup: Setup, slow_ends: Exception | None
) -> None:
    asked = setup.ask()
    fast = _overtaken(setup, slow_ends)
    assert _ids(fast.sent) == [asked.id]
    found = setup.now(asked)
    assert (found.attempts, found.due_at, found.dead_at, found.last_error) == (2, None, None, None)
    assert found.sent_at == setup.clock.now()


@pytest.mark.parametrize("slow_ends", [MailError("late"), MailRefused("late"), None], ids=repr)
def test_an_attempt_that_outlives_its_lease_cannot_undo_that_the_next_one_gave_up(
    setup: Setup, slow_ends: Exception | None
) -> None:
    asked = setup.ask()
    _overtaken(setup, slow_ends, MailError("the next one"))
    found = setup.now(asked)
    assert (found.attempts, found.dead_at, found.last_error) == (2, setup.clock.now(), "the next one")
    assert found.sent_at is None


def test_an_account_that_goes_away_while_its_mail_is_under_way_leaves_nothing_behind(setup: Setup) -> None:
    def delete() -> None:
        with setup.store.begin() as work:
            work.users.remove(setup.ann.user.id)
            work.commit()

    setup.ask(MessageKind.PASSWORD_RESET)
    setup.mailer.script = [delete]
    worker = setup.worker()
    assert worker.run_once() == 1
    assert messages_in(setup.store) == []
    assert tokens_of(setup.store, setup.ann.user.id) == []
    assert worker.run_once() == 0


# Worker at the same time


def test_two_workers_at_once_send_each_message_once(store: SqlStore) -> None:
    """Each on connections of its own, as processes have them; PostgreSQL passes over what the other is taking."""
    setup = Setup(store)
    stored(store, setup.ann)
    asked = [setup.ask() for _ in range(60)]
    mailers = [ScriptedMailer(), ScriptedMailer()]
    # Each waits in its first e-mail until the other has one too: neither can be done before the other begins.
    both_have_one = threading.Barrier(2)
    for mailer in mailers:
        mailer.script = [lambda: both_have_one.wait(10)]
    with opened(url_of(store)) as one, opened(url_of(store)) as two, ThreadPoolExecutor(2) as pool:
        workers = [setup.worker(mailer, store) for mailer, store in zip(mailers, (one, two), strict=True)]
        attempts = [future.result(60) for future in [pool.submit(worker.run_once) for worker in workers]]
    assert sum(attempts) == 60
    assert all(attempts)
    sent = Counter(_ids([email for mailer in mailers for email in mailer.sent]))
    assert sent == Counter(one.id for one in asked)
    assert {(found.attempts, found.sent_at is None) for found in messages_in(store)} == {(1, False)}


def test_relays_at_once_take_a_message_again_only_after_its_lease(store: SqlStore) -> None:
    """Every first attempt fails and is never noted, as if each worker were killed in the middle of it."""
    setup = Setup(store)
    stored(store, setup.ann)
    asked = [setup.ask() for _ in range(20)]

    def killed(_number: int) -> int:
        flaky = FlakyStore(store)
        worker, claimed = setup.worker(ScriptedMailer(), flaky), 0
        while True:
            flaky.script = [None, DatabaseUnavailable()]
            try:
                if worker.run_once() == 0:
                    return claimed
            except DatabaseUnavailable:
                claimed += 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(killed, range(4))) == len(asked)
    assert {found.attempts for found in messages_in(store)} == {1}
    setup.clock.at += LEASE
    assert setup.worker().run_once() == len(asked)


# Its own thread


class Signalling(ScriptedMailer):
    """Says when it has taken an e-mail."""

    def __init__(self) -> None:
        super().__init__()
        self.has_sent = threading.Event()

    def send(self, email: EmailMessage) -> None:
        super().send(email)
        self.has_sent.set()


@contextmanager
def _running(mail_worker: MailWorker) -> Iterator[None]:
    mail_worker.start()
    try:
        yield
    finally:
        mail_worker.stop()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that nobody wakes does not look again within a test."""
    monkeypatch.setattr("core.mail.worker.POLL", 600.0)


@pytest.mark.usefixtures("_patient")
def test_a_worker_that_is_woken_sends_at_once(setup: Setup) -> None:
    mailer = Signalling()
    worker = setup.worker(mailer)
    with _running(worker):
        for _ in range(3):
            mailer.has_sent.clear()
            setup.ask()
            worker.wake()
            assert mailer.has_sent.wait(10)
    assert len(mailer.sent) == 3


def test_a_worker_that_nobody_wakes_looks_again_by_itself(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.mail.worker.POLL", 0.01)
    mailer = Signalling()
    with _running(setup.worker(mailer)):
        setup.ask()
        assert mailer.has_sent.wait(10)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("trouble", [DatabaseUnavailable(), RuntimeError("a defect")], ids=repr)
def test_a_worker_goes_on_after_trouble(setup: Setup, monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    monkeypatch.setattr("core.background.WAIT_AFTER_FAILURE", 0.01)
    mailer = Signalling()
    flaky = FlakyStore(setup.store)
    flaky.script = [trouble] * 3
    asked = setup.ask()
    with _running(setup.worker(mailer, flaky)):
        assert mailer.has_sent.wait(10)
    assert flaky.script == []
    assert setup.is_sent(asked)


def test_a_worker_that_is_asked_to_stop_finishes_its_attempt_and_begins_no_other(setup: Setup) -> None:
    first, second = setup.ask(), setup.ask()
    worker = setup.worker()
    setup.mailer.script = [worker.ask_to_stop]
    worker.run()
    assert setup.is_sent(first)
    assert setup.now(second) == second
    assert setup.mailer.is_closed


@pytest.mark.usefixtures("_patient")
def test_a_worker_that_is_stopped_while_it_waits_ends_at_once_and_closes_its_mailer(setup: Setup) -> None:
    mailer = Signalling()
    worker = setup.worker(mailer)
    setup.ask()
    with _running(worker):
        assert mailer.has_sent.wait(10)
        worker.stop()
        assert mailer.is_closed, "the thread is over"


def test_a_worker_that_never_started_can_be_stopped(setup: Setup) -> None:
    worker = setup.worker()
    worker.stop()
    setup.ask()
    assert worker.run_once() == 0


# What is written down


def test_no_line_of_the_log_holds_an_address_or_a_token(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked = [setup.ask(MessageKind.PASSWORD_RESET), setup.ask(), setup.ask(MessageKind.SESSION_ENDED)]
    setup.mailer.script = [
        MailError("message refused: 451"),
        MailRefused("recipient refused: 550"),
        RuntimeError("not told"),
        None,
        MailError("message refused: 451"),
    ]
    worker = setup.worker(mail_attempts=2)
    for _ in range(3):
        worker.run_once()
        setup.clock.advance(hours=1)
    lines = [str(vars(record)) for record in caplog.records if record.name == "relay"]
    events = Counter(record.message for record in caplog.records if record.name == "relay")
    assert events == {"mail sent": 1, "mail not sent": 2, "mail given up": 2, "mail could not be written": 1}
    for one in asked:
        assert any(str(one.id) in line for line in lines)
    tokens = [
        token_of(email).removeprefix("twm_")
        for email in setup.mailer.tried
        if email["X-Twinauth-Message"] == "password_reset"
    ]
    assert tokens
    for secret in ("ann@example.com", "192.0.2.7", *tokens):
        assert not [line for line in lines if secret in line]
