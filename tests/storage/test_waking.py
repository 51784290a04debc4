"""A commit that stored a message wakes whoever sends mail; no handler has to remember it."""

from collections.abc import Iterator

import pytest
from sqlalchemy.event import listen, remove

from core.app import AuthApp, build
from core.authentication.errors import EmailNotVerified
from core.mail.model import Message, MessageKind
from core.mail.model import message as new_message
from core.origin import LOCAL_ORIGIN
from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from core.users.errors import EmailTaken
from tests.support.clock import FakeClock
from tests.support.settings import make_settings
from tests.support.values import NOW, account, stored

PASSWORD = "a kite and a staple gun"


def letter() -> Message:
    return new_message(MessageKind.PASSWORD_RESET, at=NOW, origin=LOCAL_ORIGIN, canonical_email="ann@example.com")


@pytest.fixture
def wakes(store: SqlStore) -> Iterator[list[str]]:
    """What is called after a commit that stored a message."""
    found: list[str] = []
    store.on_message(lambda: found.append("woken"))
    yield found
    store.on_message(lambda: None)


def test_it_is_woken_once_after_the_commit(store: SqlStore, wakes: list[str]) -> None:
    with store.begin() as work:
        work.outbox.add(letter())
        work.outbox.add(letter())
        assert wakes == []
        work.commit()
    assert wakes == ["woken"]


def test_what_is_undone_or_stores_no_message_wakes_nobody(store: SqlStore, wakes: list[str]) -> None:
    stored(store, account())
    with store.begin() as work:
        work.outbox.add(letter())
    assert wakes == []


def test_a_commit_that_fails_wakes_nobody(store: SqlStore, wakes: list[str]) -> None:
    def fail(_connection: object) -> None:
        raise ConnectionError

    listen(store.engine, "commit", fail)
    try:
        with store.begin() as work:
            work.outbox.add(letter())
            with pytest.raises(ConnectionError):
                work.commit()
    finally:
        remove(store.engine, "commit", fail)
    assert wakes == []


def test_the_service_wakes_its_worker_also_where_the_caller_is_refused(store: SqlStore) -> None:
    """A taken address and an unverified login are refused, and their letters do not wait for the next look."""
    settings = make_settings(mail=MailSettings(require_verified_email=True))
    app = build(settings, store=store, clock=FakeClock())
    app.accounts.sign_up("ann@example.com", PASSWORD, None, LOCAL_ORIGIN)
    assert is_woken(app)
    with pytest.raises(EmailNotVerified):
        app.authentication.login("ann@example.com", PASSWORD, LOCAL_ORIGIN)
    assert is_woken(app)
    plain = build(make_settings(), store=store, clock=FakeClock())
    with pytest.raises(EmailTaken):
        plain.accounts.sign_up("ann@example.com", PASSWORD, None, LOCAL_ORIGIN)
    assert is_woken(plain)


def is_woken(app: AuthApp) -> bool:
    """Whether its worker was woken since this was asked."""
    woken = app.mail_worker._background._woken
    was = woken.is_set()
    woken.clear()
    return was
