"""A secret key that leaked: what was derived from it or stored under it is worth nothing after the replacement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.accounts.errors import InvalidResetToken
from core.app import AuthApp, build, build_secret_replacement
from core.audit.model import EventKind
from core.errors import InvalidToken
from core.oauth.model import Credentials, TokenRequest
from core.origin import LOCAL_ORIGIN
from core.sessions import secret_replacement
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import TokenPair
from core.sessions.secret_replacement import SecretReplacement
from core.settings.whole import Settings
from core.sql_store import SqlStore
from core.tokens.errors import KeysLocked, SecretInUseError, SecretMissingError
from core.tokens.key_ring import REFRESH
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.mail import RecordingMailer, kind_of, token_of
from tests.support.settings import SECRET, make_settings
from tests.support.values import events_in

NEW = make_settings(secret_key=SecretStr(SECRET[::-1]))


@dataclass
class Before:
    """A service under the old secret, whose process still runs, and what it gave out."""

    app: AuthApp
    clock: FakeClock
    pairs: list[TokenPair]
    link: str
    client: Credentials
    client_token: str


@pytest.fixture
def before(store: SqlStore, clock: FakeClock) -> Before:
    mailer = RecordingMailer()
    app = build(make_settings(), store=store, clock=clock, mailer=mailer)
    app.accounts.sign_up(EMAIL, PASSWORD, None, LOCAL_ORIGIN)
    pairs = [app.authentication.login(EMAIL, PASSWORD, LOCAL_ORIGIN) for _ in range(3)]
    app.password_reset.request(EMAIL, LOCAL_ORIGIN)
    app.mail_worker.run_once()
    (letter,) = (letter for letter in mailer.letters if kind_of(letter) == "password_reset")
    registered, secret = app.clients.create("Orders", ())
    client = Credentials(client_id=registered.id, secret=secret)
    token = app.token_endpoint.grant(TokenRequest(grant_type="client_credentials"), client, LOCAL_ORIGIN).access_token
    return Before(app, clock, pairs, token_of(letter), client, token)


def replacement(before: Before, settings: Settings) -> SecretReplacement:
    return build_secret_replacement(settings, store=before.app.store, clock=before.clock)


def kids(app: AuthApp) -> list[str]:
    return [key["kid"] for key in app.keys.jwks()["keys"]]


def test_all_that_the_old_one_gave_out_is_refused_by_processes_of_either(before: Before, store: SqlStore) -> None:
    """A process with the old secret that nobody has started anew must not serve the thief."""
    replaced = replacement(before, NEW).run()
    assert (replaced.sessions, replaced.links) == (3, 2)
    before.clock.advance(seconds=REFRESH.total_seconds())
    for app in (before.app, build(NEW, store=store, clock=before.clock)):
        for pair in before.pairs:
            with pytest.raises((InvalidToken, KeysLocked)):
                app.sessions.whoami(pair.access_token)
            with pytest.raises(InvalidRefreshToken):
                app.sessions.refresh(pair.refresh_token, LOCAL_ORIGIN)
        with pytest.raises((InvalidToken, KeysLocked)):
            app.sessions.caller(before.client_token)
        with pytest.raises(InvalidResetToken):
            app.password_reset.reset(before.link, OTHER_PASSWORD, LOCAL_ORIGIN)


def test_passwords_and_secrets_of_clients_go_on(before: Before, store: SqlStore) -> None:
    replacement(before, NEW).run()
    app = build(NEW, store=store, clock=before.clock)
    pair = app.authentication.login(EMAIL, PASSWORD, LOCAL_ORIGIN)
    assert app.sessions.whoami(pair.access_token).user.email == EMAIL
    assert app.sessions.refresh(pair.refresh_token, LOCAL_ORIGIN)
    asked = TokenRequest(grant_type="client_credentials")
    assert app.token_endpoint.grant(asked, before.client, LOCAL_ORIGIN).access_token


def test_a_process_with_the_old_one_signs_nothing_any_more(before: Before) -> None:
    replacement(before, NEW).run()
    before.clock.advance(seconds=REFRESH.total_seconds())
    assert before.app.keys.is_locked
    with pytest.raises(KeysLocked):
        before.app.keys.signer()


def test_the_keys_are_ended_in_the_feed_and_recorded(before: Before, store: SqlStore) -> None:
    old = kids(before.app)
    signing = replacement(before, NEW).run().signing
    found = {(event.kind, event.subject) for event in events_in(store)}
    assert found >= {
        *((EventKind.KEY_RETIRED, kid) for kid in old),
        (EventKind.KEY_ROTATED, signing.kid),
        (EventKind.SECRET_REPLACED, None),
    }
    before.clock.advance(seconds=REFRESH.total_seconds())
    assert kids(before.app) == [], "it cannot open the new one, and believes no other"
    assert kids(build(NEW, store=store, clock=before.clock)) == [signing.kid]


def test_many_sessions_and_links_end_in_small_transactions(before: Before, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_replacement, "BATCH", 2)
    principal = before.app.sessions.whoami(before.pairs[0].access_token)
    replaced = replacement(before, NEW).run()
    assert (replaced.sessions, replaced.links) == (3, 2)
    assert before.app.sessions.live(principal) == []


def test_one_that_opens_the_keys_replaces_nothing(before: Before) -> None:
    """It is the one that leaked, set once more."""
    with pytest.raises(SecretInUseError):
        replacement(before, make_settings()).run()
    assert before.app.sessions.whoami(before.pairs[0].access_token).user.email == EMAIL


def test_none_is_made_for_a_database_that_has_keys(before: Before, store: SqlStore, tmp_path: Path) -> None:
    """As in a folder that was deleted, or that is another one by mistake."""
    elsewhere = make_settings(secret_key=None, data_dir=tmp_path / "data")
    with pytest.raises(SecretMissingError):
        build(elsewhere, store=store, clock=before.clock)
    assert not (tmp_path / "data").exists()


def test_one_is_made_for_a_database_that_has_none(store: SqlStore, clock: FakeClock, tmp_path: Path) -> None:
    app = build(make_settings(secret_key=None, data_dir=tmp_path / "data"), store=store, clock=clock)
    app.keys.ensure()
    assert app.keys.signer()
    assert (tmp_path / "data" / "secret_key").exists()
