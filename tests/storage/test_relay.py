"""The relay over every store: at least once each, never forgotten, and nothing held up by what fails."""

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
from core.mail.worker import LEASE_ANSWERS, MailWorker, MailWorkerSettings
from core.origin import Origin
from core.settings import MailSettings
from core.sql_store import SqlStore
from core.store import Store, UnitOfWork
from core.users.model import Account
from tests.conftest import make_settings
from tests.storage.faults import end_connections, locked_by_another_process, mortal, opened, url_of
from tests.storage.values import TICK, account, message, message_in, messages_in, stored, tokens_of
from tests.support.clock import START, FakeClock
from tests.support.mail import kind_of, parsed, token_of

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

    def __init__(self, store: Store) -> None:
        self._store = store
        self.script: list[Exception | None] = []
        self.reading: Callable[[], AbstractContextManager[UnitOfWork]] = store.reading
        self.check, self.close = store.check, store.close

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        failure = self.script.pop(0) if self.script else None
        if failure is not None:
            raise failure
        with self._store.begin() as work:
            yield work


@dataclass
class Post:
    """A relay on a store, with a user to write to."""

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    mailer: ScriptedMailer = field(default_factory=ScriptedMailer)
    ann: Account = field(default_factory=partial(account, email_verified=True))

    def relay(self, mailer: ScriptedMailer | None = None, store: Store | None = None, **mail: Any) -> MailWorker:
        settings = make_settings(mail=MailSettings(**mail))
        return build_mail_worker(settings, store=store or self.store, clock=self.clock, mailer=mailer or self.mailer)

    def ask(self, kind: MessageKind = MessageKind.PASSWORD_CHANGED) -> Message:
        """Store a message to Ann, a second after the one before."""
        self.clock.advance(seconds=1)
        client = Origin(ip="192.0.2.7", request_id="a-request")
        asked = new_message(kind, at=self.clock.now(), client=client, user_id=self.ann.user.id)
        stored(self.store, asked)
        return asked

    def now(self, asked: Message) -> Message:
        return message_in(self.store, asked.id)

    def is_sent(self, asked: Message) -> bool:
        return self.now(asked).sent_at is not None


@pytest.fixture
def post(store: Store) -> Post:
    made = Post(store)
    stored(store, made.ann)
    return made


def _ids(emails: list[EmailMessage]) -> list[uuid.UUID]:
    return [uuid.UUID(str(email["Message-ID"])[1:].partition("@")[0]) for email in emails]


# What is due


def test_everything_that_is_due_is_sent_oldest_first_and_only_once(post: Post) -> None:
    asked = [post.ask() for _ in range(3)]
    relay = post.relay()
    assert relay.run_once() == 3
    assert _ids(post.mailer.sent) == [one.id for one in asked]
    assert {recipient_of(email) for email in post.mailer.sent} == {"ann@example.com"}
    assert relay.run_once() == 0
    assert {found.sent_at for found in messages_in(post.store)} == {post.clock.now()}


def test_what_is_not_due_is_left(post: Post) -> None:
    stored(post.store, message(user_id=post.ann.user.id, due_at=post.clock.now() + TICK))
    assert post.relay().run_once() == 0
    assert post.mailer.tried == []


def test_what_is_not_to_be_sent_is_no_mail_and_is_gone(post: Post) -> None:
    stored(post.store, message(MessageKind.PASSWORD_RESET, canonical_email="nobody@example.com", due_at=START))
    asked = post.ask()
    assert post.relay().run_once() == 2
    assert _ids(post.mailer.sent) == [asked.id]
    assert [found.id for found in messages_in(post.store)] == [asked.id]


def test_what_is_sent_keeps_nothing_personal(post: Post) -> None:
    asked = post.ask(MessageKind.PASSWORD_RESET)
    post.relay().run_once()
    found = post.now(asked)
    assert (found.canonical_email, found.address, found.facts, found.seed) == (None, None, {}, b"")


def test_a_lease_lasts_for_a_whole_conversation_of_slow_answers() -> None:
    settings = MailWorkerSettings.of(MailSettings(smtp_timeout=timedelta(seconds=7)))
    assert settings.lease == timedelta(seconds=84)


# What fails for now


def test_what_failed_is_tried_again_after_pauses_that_double_and_an_hour_at_most(post: Post) -> None:
    asked = post.ask()
    relay = post.relay(mail_attempts=14)
    longest = [5 * 2**number for number in range(10)] + [3600] * 3
    for attempt, seconds in enumerate(longest, 1):
        post.mailer.script = [MailError("message refused: 451")]
        assert relay.run_once() == 1
        found = post.now(asked)
        assert (found.attempts, found.last_error) == (attempt, "message refused: 451")
        assert found.due_at is not None
        pause = found.due_at - post.clock.now()
        assert timedelta(seconds=seconds / 2) <= pause <= timedelta(seconds=seconds)
        assert relay.run_once() == 0, "it waits"
        post.clock.at = found.due_at
    assert relay.run_once() == 1
    assert post.is_sent(asked)


def test_every_attempt_sends_the_same_letter(post: Post) -> None:
    asked = post.ask(MessageKind.PASSWORD_RESET)
    post.mailer.script = [MailError("away")] * 3
    relay = post.relay()
    for _ in range(4):
        relay.run_once()
        post.clock.advance(minutes=5)
    assert _ids(post.mailer.tried) == [asked.id] * 4
    assert len({token_of(email) for email in post.mailer.tried}) == 1
    (token,) = tokens_of(post.store, post.ann.user.id)
    assert token.digest == digest_of(token_of(post.mailer.sent[0]))


def test_what_fails_does_not_hold_up_what_is_behind_it(post: Post) -> None:
    failing, good = post.ask(), post.ask()
    post.mailer.script = [MailError("away")]
    assert post.relay().run_once() == 2
    assert not post.is_sent(failing)
    assert post.is_sent(good)


# What is given up


def test_after_the_last_attempt_a_message_is_a_dead_letter_and_not_tried_again(post: Post) -> None:
    asked = post.ask()
    post.mailer.script = [MailError("message refused: 451")] * 9
    relay = post.relay(mail_attempts=3)
    for _ in range(5):
        relay.run_once()
        post.clock.advance(hours=2)
    assert len(post.mailer.tried) == 3
    found = post.now(asked)
    assert (found.attempts, found.due_at, found.last_error) == (3, None, "message refused: 451")
    assert found.dead_at == START + timedelta(seconds=1, hours=4)


def test_the_last_attempt_may_still_succeed(post: Post) -> None:
    asked = post.ask()
    post.mailer.script = [MailError("away")] * 2
    relay = post.relay(mail_attempts=3)
    for _ in range(3):
        relay.run_once()
        post.clock.advance(hours=2)
    assert post.is_sent(asked)


def test_what_is_refused_for_good_is_a_dead_letter_at_once(post: Post) -> None:
    refused, good = post.ask(), post.ask()
    post.mailer.script = [MailRefused("recipient refused: 550")]
    assert post.relay().run_once() == 2
    found = post.now(refused)
    assert (found.attempts, found.due_at, found.dead_at) == (1, None, post.clock.now())
    assert found.last_error == "recipient refused: 550"
    assert post.is_sent(good)


def test_a_dead_letter_that_is_revived_is_sent_with_the_same_token(post: Post) -> None:
    asked = post.ask(MessageKind.PASSWORD_RESET)
    post.mailer.script = [MailRefused("recipient refused: 550")]
    relay = post.relay()
    relay.run_once()
    with post.store.begin() as work:
        work.outbox.retry(asked.id, at=post.clock.now())
        work.commit()
    assert relay.run_once() == 1
    assert token_of(post.mailer.sent[0]) == token_of(post.mailer.tried[0])


# What cannot be written


@pytest.mark.parametrize(
    "template",
    ["{{ nothing_of_this_name }}", "{% include layouts %}", "{% include 'no such file' %}", "{{ 1 / 0 }}"],
)
def test_a_broken_template_does_not_stop_the_mail_behind_it(post: Post, tmp_path: Path, template: str) -> None:
    """What fails for everybody is refused at the start; a template may fail for some."""
    whole = (editions.HERE / "letters" / "password_changed.jinja").read_text()
    for_ann = f"{{% if address == 'ann@example.com' %}}{template}{{% endif %}}"
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "password_changed.jinja").write_text(
        whole.replace("{% block subject %}", f"{{% block subject %}}{for_ann}")
    )
    broken, good = post.ask(), post.ask(MessageKind.SESSION_ENDED)
    assert post.relay(texts_dir=tmp_path).run_once() == 2
    assert [kind_of(email) for email in post.mailer.sent] == ["session_ended"]
    found = post.now(broken)
    assert found.due_at is not None
    assert (found.attempts, found.dead_at) == (1, None)
    assert found.last_error
    assert post.is_sent(good)
    post.clock.at = found.due_at
    post.relay().run_once()
    assert post.is_sent(broken), "it is sent once the template is mended"


def test_what_a_mailer_never_promised_to_raise_does_not_stop_the_mail_behind_it(post: Post) -> None:
    failing, good = post.ask(), post.ask()
    post.mailer.script = [RuntimeError("ann@example.com")]
    post.relay().run_once()
    assert post.now(failing).last_error == "RuntimeError", "the text may hold anything"
    assert post.is_sent(good)


def test_what_never_can_be_written_is_given_up_in_the_end(post: Post) -> None:
    asked = post.ask()
    post.mailer.script = [RuntimeError()] * 9
    relay = post.relay(mail_attempts=2)
    for _ in range(4):
        relay.run_once()
        post.clock.advance(hours=2)
    assert post.now(asked).dead_at is not None
    assert len(post.mailer.tried) == 2


# A database that is away


def _away(post: Post, *script: Exception | None) -> tuple[FlakyStore, MailWorker]:
    """The transactions of one message are its claim, its preparation and its outcome."""
    flaky = FlakyStore(post.store)
    flaky.script = list(script)
    return flaky, post.relay(store=flaky)


def test_a_message_that_could_not_be_claimed_is_due_as_before(post: Post) -> None:
    asked = post.ask()
    _flaky, relay = _away(post, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        relay.run_once()
    assert post.now(asked) == asked
    assert relay.run_once() == 1


def test_a_message_that_could_not_be_prepared_is_due_again_after_its_lease(post: Post) -> None:
    asked = post.ask()
    _flaky, relay = _away(post, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        relay.run_once()
    assert post.mailer.tried == []
    assert relay.run_once() == 0
    post.clock.at += LEASE
    assert relay.run_once() == 1
    assert post.is_sent(asked)


def test_a_message_whose_sending_could_not_be_noted_is_sent_again_and_known_by_its_id(post: Post) -> None:
    """At least once, and not at most once; the recipient's server may tell by the Message-ID."""
    asked = post.ask(MessageKind.PASSWORD_RESET)
    _flaky, relay = _away(post, None, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        relay.run_once()
    post.clock.at += LEASE
    assert relay.run_once() == 1
    assert _ids(post.mailer.sent) == [asked.id] * 2
    assert len({token_of(email) for email in post.mailer.sent}) == 1
    assert post.is_sent(asked)


@pytest.mark.parametrize(
    "failure", [MailError("away"), MailRefused("recipient refused: 550"), RuntimeError()], ids=repr
)
def test_a_message_whose_failure_could_not_be_noted_is_due_again_after_its_lease(
    post: Post, failure: Exception
) -> None:
    asked = post.ask()
    post.mailer.script = [failure]
    _flaky, relay = _away(post, None, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        relay.run_once()
    post.clock.at += LEASE
    relay.run_once()
    assert post.is_sent(asked)


def test_a_database_that_is_away_is_no_failed_attempt(post: Post) -> None:
    """The database's trouble is not the message's: it is not postponed on top of its lease."""
    asked = post.ask()
    _flaky, relay = _away(post, None, DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        relay.run_once()
    assert post.now(asked).due_at == post.clock.now() + LEASE
    assert post.now(asked).last_error is None


@pytest.mark.parametrize("position", range(3), ids=["claim", "preparation", "outcome"])
def test_what_the_database_undid_is_done_again_and_the_mail_is_sent_once(post: Post, position: int) -> None:
    asked = post.ask()
    _flaky, relay = _away(post, *[None] * position, TransactionConflict())
    assert relay.run_once() == 1
    assert _ids(post.mailer.sent) == [asked.id]
    assert post.is_sent(asked)


def test_the_first_run_after_a_restart_of_the_server_sends(postgres_store: SqlStore) -> None:
    with mortal(postgres_store) as store:
        post = Post(store)
        stored(store, post.ann)
        asked = [post.ask() for _ in range(2)]
        relay = post.relay()
        post.mailer.script = [lambda: end_connections(store)]
        assert relay.run_once() == 2
        assert _ids(post.mailer.sent) == [one.id for one in asked]
        assert all(map(post.is_sent, asked))


def test_an_sqlite_file_that_another_process_writes_to_is_away_only_where_mail_waits(sqlite_store: SqlStore) -> None:
    with opened(url_of(sqlite_store), timeout=timedelta(milliseconds=200)) as store:
        post = Post(store)
        stored(store, post.ann)
        relay = post.relay()
        with locked_by_another_process(store):
            assert relay.run_once() == 0, "a look takes no lock"
        asked = post.ask()
        with locked_by_another_process(store), pytest.raises(DatabaseUnavailable):
            relay.run_once()
        relay.run_once()
        assert post.is_sent(asked)


# Relays that end, and that are slow


class KilledError(BaseException):
    """What no `except Exception` catches."""


def test_a_relay_that_is_killed_gives_its_message_back_by_doing_nothing(post: Post) -> None:
    def die() -> None:
        raise KilledError

    asked = post.ask()
    post.mailer.script = [die]
    with pytest.raises(KilledError):
        post.relay().run_once()
    assert post.relay().run_once() == 0
    post.clock.at += LEASE
    assert post.relay().run_once() == 1
    assert post.is_sent(asked)


def _overtaken(post: Post, slow_ends: Exception | None, *fast_script: Exception | None) -> ScriptedMailer:
    """A relay whose attempt outlives its lease, while another one makes the next attempt."""
    fast = ScriptedMailer(list(fast_script))

    def be_slow() -> None:
        post.clock.at += LEASE
        assert post.relay(fast, mail_attempts=2).run_once() == 1
        if slow_ends is not None:
            raise slow_ends

    post.mailer.script = [be_slow]
    post.relay(mail_attempts=2).run_once()
    return fast


@pytest.mark.parametrize("slow_ends", [MailError("late"), MailRefused("late"), RuntimeError(), None], ids=repr)
def test_an_attempt_that_outlives_its_lease_cannot_undo_that_the_next_one_sent(
    post: Post, slow_ends: Exception | None
) -> None:
    asked = post.ask()
    fast = _overtaken(post, slow_ends)
    assert _ids(fast.sent) == [asked.id]
    found = post.now(asked)
    assert (found.attempts, found.due_at, found.dead_at, found.last_error) == (2, None, None, None)
    assert found.sent_at == post.clock.now()


@pytest.mark.parametrize("slow_ends", [MailError("late"), MailRefused("late"), None], ids=repr)
def test_an_attempt_that_outlives_its_lease_cannot_undo_that_the_next_one_gave_up(
    post: Post, slow_ends: Exception | None
) -> None:
    asked = post.ask()
    _overtaken(post, slow_ends, MailError("the next one"))
    found = post.now(asked)
    assert (found.attempts, found.dead_at, found.last_error) == (2, post.clock.now(), "the next one")
    assert found.sent_at is None


def test_an_account_that_goes_away_while_its_mail_is_under_way_leaves_nothing_behind(post: Post) -> None:
    def delete() -> None:
        with post.store.begin() as work:
            work.users.remove(post.ann.user.id)
            work.commit()

    post.ask(MessageKind.PASSWORD_RESET)
    post.mailer.script = [delete]
    relay = post.relay()
    assert relay.run_once() == 1
    assert messages_in(post.store) == []
    assert tokens_of(post.store, post.ann.user.id) == []
    assert relay.run_once() == 0


# Relays at the same time


def test_two_relays_at_once_send_each_message_once(sql_store: SqlStore) -> None:
    """Each on connections of its own, as processes have them; PostgreSQL passes over what the other is taking."""
    post = Post(sql_store)
    stored(sql_store, post.ann)
    asked = [post.ask() for _ in range(60)]
    mailers = [ScriptedMailer(), ScriptedMailer()]
    # Each waits in its first e-mail until the other has one too: neither can be done before the other begins.
    both_have_one = threading.Barrier(2)
    for mailer in mailers:
        mailer.script = [lambda: both_have_one.wait(10)]
    with opened(url_of(sql_store)) as one, opened(url_of(sql_store)) as two, ThreadPoolExecutor(2) as pool:
        relays = [post.relay(mailer, store) for mailer, store in zip(mailers, (one, two), strict=True)]
        attempts = [future.result(60) for future in [pool.submit(relay.run_once) for relay in relays]]
    assert sum(attempts) == 60
    assert all(attempts)
    sent = Counter(_ids([email for mailer in mailers for email in mailer.sent]))
    assert sent == Counter(one.id for one in asked)
    assert {(found.attempts, found.sent_at is None) for found in messages_in(sql_store)} == {(1, False)}


def test_relays_at_once_take_a_message_again_only_after_its_lease(sql_store: SqlStore) -> None:
    """Every first attempt fails and is never noted, as if each relay were killed in the middle of it."""
    post = Post(sql_store)
    stored(sql_store, post.ann)
    asked = [post.ask() for _ in range(20)]

    def killed(_number: int) -> int:
        flaky = FlakyStore(sql_store)
        relay, claimed = post.relay(ScriptedMailer(), flaky), 0
        while True:
            flaky.script = [None, DatabaseUnavailable()]
            try:
                if relay.run_once() == 0:
                    return claimed
            except DatabaseUnavailable:
                claimed += 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(killed, range(4))) == len(asked)
    assert {found.attempts for found in messages_in(sql_store)} == {1}
    post.clock.at += LEASE
    assert post.relay().run_once() == len(asked)


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
    relay.start()
    try:
        yield
    finally:
        relay.stop()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that nobody wakes does not look again within a test."""
    monkeypatch.setattr("core.mail.worker.POLL", 600.0)


@pytest.mark.usefixtures("_patient")
def test_a_relay_that_is_woken_sends_at_once(post: Post) -> None:
    mailer = Signalling()
    relay = post.relay(mailer)
    with _running(relay):
        for _ in range(3):
            mailer.has_sent.clear()
            post.ask()
            relay.wake()
            assert mailer.has_sent.wait(10)
    assert len(mailer.sent) == 3


def test_a_relay_that_nobody_wakes_looks_again_by_itself(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.mail.worker.POLL", 0.01)
    mailer = Signalling()
    with _running(post.relay(mailer)):
        post.ask()
        assert mailer.has_sent.wait(10)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("trouble", [DatabaseUnavailable(), RuntimeError("a defect")], ids=repr)
def test_a_relay_goes_on_after_trouble(post: Post, monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    monkeypatch.setattr("core.background.PAUSE_AFTER_FAILURE", 0.01)
    mailer = Signalling()
    flaky = FlakyStore(post.store)
    flaky.script = [trouble] * 3
    asked = post.ask()
    with _running(post.relay(mailer, flaky)):
        assert mailer.has_sent.wait(10)
    assert flaky.script == []
    assert post.is_sent(asked)


def test_a_relay_that_is_asked_to_stop_finishes_its_attempt_and_begins_no_other(post: Post) -> None:
    first, second = post.ask(), post.ask()
    relay = post.relay()
    post.mailer.script = [relay.ask_to_stop]
    relay.run()
    assert post.is_sent(first)
    assert post.now(second) == second
    assert post.mailer.is_closed


@pytest.mark.usefixtures("_patient")
def test_a_relay_that_is_stopped_while_it_waits_ends_at_once_and_closes_its_mailer(post: Post) -> None:
    mailer = Signalling()
    relay = post.relay(mailer)
    post.ask()
    with _running(relay):
        assert mailer.has_sent.wait(10)
        relay.stop()
        assert mailer.is_closed, "the thread is over"


def test_a_relay_that_never_started_can_be_stopped(post: Post) -> None:
    relay = post.relay()
    relay.stop()
    post.ask()
    assert relay.run_once() == 0


# What is written down


def test_no_line_of_the_log_holds_an_address_or_a_token(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked = [post.ask(MessageKind.PASSWORD_RESET), post.ask(), post.ask(MessageKind.SESSION_ENDED)]
    post.mailer.script = [
        MailError("message refused: 451"),
        MailRefused("recipient refused: 550"),
        RuntimeError("not told"),
        None,
        MailError("message refused: 451"),
    ]
    relay = post.relay(mail_attempts=2)
    for _ in range(3):
        relay.run_once()
        post.clock.advance(hours=1)
    lines = [str(vars(record)) for record in caplog.records if record.name == "relay"]
    events = Counter(record.message for record in caplog.records if record.name == "relay")
    assert events == {"mail sent": 1, "mail not sent": 2, "mail given up": 2, "mail could not be written": 1}
    for one in asked:
        assert any(str(one.id) in line for line in lines)
    tokens = [
        token_of(email).removeprefix("twm_")
        for email in post.mailer.tried
        if email["X-Twinauth-Message"] == "password_reset"
    ]
    assert tokens
    for secret in ("ann@example.com", "192.0.2.7", *tokens):
        assert not [line for line in lines if secret in line]
