"""The service's own answer to a token and that of a service that follows its feed are one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from twinauth_verify.feed import MEDIA_TYPE, Feed
from twinauth_verify.fetching import Answer
from twinauth_verify.keys import read_jwks
from twinauth_verify.revocations import Revocations
from twinauth_verify.settings import Settings
from twinauth_verify.tokens import Expectations, verify_token

from core.app import AuthApp, build
from core.oauth.discovery import key_set
from core.oauth.model import Credentials, TokenRequest
from core.origin import LOCAL_ORIGIN
from core.sql_store import SqlStore
from tests.support.api import EMAIL, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.settings import make_settings


@dataclass
class Both:
    """The service, and a verifier that has heard all of its feed."""

    app: AuthApp
    clock: FakeClock
    asking: Credentials = field(init=False)

    def __post_init__(self) -> None:
        registered, secret = self.app.clients.create("Asking", ())
        self.asking = Credentials(client_id=registered.id, secret=secret)

    def at(self, seconds: float) -> None:
        self.clock.at = START + timedelta(seconds=seconds)

    def is_live_here(self, token: str) -> bool:
        return self.app.tokens.introspect(token, self.asking, LOCAL_ORIGIN) is not None

    def is_live_there(self, token: str) -> bool:
        settings = self.app.settings
        now = self.clock.now().timestamp()
        keys = read_jwks(key_set(self.app.keys, None).body)
        verified = verify_token(
            token,
            keys,
            Expectations(issuer=settings.http.public_url, audience=settings.tokens.audience, clock_skew=0),
            now,
        )
        revocations = Revocations(clock=lambda: now, clock_skew=0)
        feed = Feed(
            Settings(issuer=settings.http.public_url, audience=settings.tokens.audience),
            revocations,
            clock=lambda: now,
            timer=lambda: now,
        )
        while feed.is_stale:
            request = feed.next_request()
            found = self.app.revocations.read(request.since, wait=0)
            jws = feed.read(Answer(found.jws.encode(), MEDIA_TYPE, None))
            feed.accept(request, jws, keys.get(jws.kid))
        return not revocations.contain(verified)

    def agree(self, token: str) -> bool:
        """Whether the token is live, as both say."""
        here = self.is_live_here(token)
        assert self.is_live_there(token) == here
        return here


@pytest.fixture
def both(new_store: Callable[[], SqlStore]) -> Iterator[Both]:
    clock = FakeClock(START)
    app = build(make_settings(), store=new_store(), clock=clock)
    app.keys.ensure()
    yield Both(app, clock)
    app.close()


@pytest.mark.parametrize("disabled_at", [1.0, 1.3, 1.999999])
def test_they_agree_on_every_token_of_a_client_that_was_disabled_and_enabled_again(
    both: Both, disabled_at: float
) -> None:
    registered, secret = both.app.clients.create("Orders", ())
    credentials = Credentials(client_id=registered.id, secret=secret)

    def token(seconds: float) -> str:
        both.at(seconds)
        request = TokenRequest(grant_type="client_credentials")
        return both.app.token_endpoint.grant(request, credentials, LOCAL_ORIGIN).access_token

    tokens = {seconds: token(seconds) for seconds in (0, 0.999999, 1.0)}
    both.at(disabled_at)
    for is_active in (False, True):
        both.app.clients.set_active(registered.id, is_active=is_active)
    tokens |= {seconds: token(seconds) for seconds in (1.999999, 2.0, 2.3, 3.0)}
    # A token says its second alone: what was issued in that of the end, but after it, is lost with the others.
    assert {seconds for seconds, found in tokens.items() if both.agree(found)} == {2.0, 2.3, 3.0}


def test_they_agree_on_a_token_of_a_client_that_was_revoked(both: Both) -> None:
    request = TokenRequest(grant_type="client_credentials")
    one, other = (both.app.token_endpoint.grant(request, both.asking, LOCAL_ORIGIN).access_token for _ in range(2))
    both.app.tokens.revoke(one, both.asking, LOCAL_ORIGIN)
    assert [both.agree(one), both.agree(other)] == [False, True]


def test_they_agree_on_a_token_of_a_session_that_was_ended(both: Both) -> None:
    both.app.accounts.sign_up(EMAIL, PASSWORD, None, LOCAL_ORIGIN)
    one, other = (both.app.authentication.login(EMAIL, PASSWORD, LOCAL_ORIGIN).access_token for _ in range(2))
    both.app.sessions.logout(both.app.sessions.whoami(one), LOCAL_ORIGIN)
    assert [both.agree(one), both.agree(other)] == [False, True]


def test_they_agree_on_every_token_of_an_account_that_was_deleted(both: Both) -> None:
    for email in (EMAIL, "ben@example.com"):
        both.app.accounts.sign_up(email, PASSWORD, None, LOCAL_ORIGIN)
    one, other = (both.app.authentication.login(EMAIL, PASSWORD, LOCAL_ORIGIN).access_token for _ in range(2))
    bens = both.app.authentication.login("ben@example.com", PASSWORD, LOCAL_ORIGIN).access_token
    both.app.accounts.delete(both.app.sessions.whoami(one), PASSWORD, LOCAL_ORIGIN)
    assert [both.agree(each) for each in (one, other, bens)] == [False, False, True]
