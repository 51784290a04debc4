"""The feed of revocations: heard within seconds, believed only from the issuer, and never silently missing."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from twinauth_verify import AccessToken, InvalidToken, Settings, Unavailable
from twinauth_verify.feed import MAX_BACKOFF, Feed
from twinauth_verify.fetching import MAX_FEED, Answer
from twinauth_verify.keys import read_jwks
from twinauth_verify.revocations import Revocation, Revocations, hash_of, read_revocation

from tests.support.issuer import ABSENT, SESSION, SUBJECT, FakeTime, Issuer, Reply, Signer, eventually, listening
from tests.support.verifiers import AnyVerifier, OpenVerifier


def outcome(verifier: AnyVerifier, text: str) -> Any:
    found = verifier.verify_all([text])[0]
    return "accepted" if isinstance(found, AccessToken) else found


@pytest.fixture
def following(open_verifier: OpenVerifier, live: Issuer) -> AnyVerifier:
    verifier = open_verifier(live, sockets=True)
    verifier.start()
    return verifier


class TestRevocations:
    @pytest.mark.parametrize(
        ("kind", "value", "more"),
        [("session", SESSION, {}), ("token", "a token", {}), ("subject", SUBJECT, {"not_before": 2**39})],
    )
    def test_reach_the_verifier_in_less_than_5_seconds(
        self, following: AnyVerifier, live: Issuer, kind: str, value: str, more: dict[str, int]
    ) -> None:
        token = live.sign()
        assert outcome(following, token) == "accepted"
        time.sleep(0.2)
        revoked_at = time.monotonic()
        live.revoke(kind, value, **more)
        assert eventually(lambda: outcome(following, token) is InvalidToken)
        assert time.monotonic() - revoked_at < 5
        assert outcome(following, live.token(sid="another", sub="another", jti="another")) == "accepted"

    def test_are_known_before_the_first_token_is_let_in(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        live.batch = 10
        for number in range(35):
            live.revoke("session", f"session {number}")
        verifier = open_verifier(live, sockets=True)
        for number in (0, 9, 10, 34):
            assert outcome(verifier, live.token(sid=f"session {number}")) is InvalidToken
        assert outcome(verifier, live.token()) == "accepted"
        assert live.feed_requests[0] == {}
        assert live.feed_requests[4] == {"since": "35"}
        assert eventually(lambda: live.feed_requests[-1] == {"since": "35", "wait": "25"})

    def test_of_a_subject_end_what_was_issued_before(self, following: AnyVerifier, live: Issuer) -> None:
        now = int(live.clock())
        live.revoke("subject", SUBJECT, not_before=now)
        assert eventually(lambda: len(following.validator.revocations) == 1)
        assert outcome(following, live.token(iat=now - 1)) is InvalidToken
        assert outcome(following, live.token(iat=now)) == "accepted"

    def test_of_unknown_kinds_are_ignored(self, following: AnyVerifier, live: Issuer) -> None:
        live.revoke("planet", "earth")
        live.revoke("session", "another")
        assert eventually(lambda: len(following.validator.revocations) == 1)
        assert outcome(following, live.sign()) == "accepted"

    def test_that_are_many_arrive_without_a_storm_of_requests(self, following: AnyVerifier, live: Issuer) -> None:
        before = len(live.feed_requests)
        for number in range(100):
            live.revoke("session", str(number))
            time.sleep(0.005)
        assert eventually(lambda: len(following.validator.revocations) == 100)
        assert len(live.feed_requests) - before < 15

    @pytest.mark.usefixtures("following")
    def test_are_asked_for_gently_where_nobody_may_wait(self, live: Issuer) -> None:
        assert eventually(lambda: live.feed_requests[-1].get("wait") == "25")
        live.feed_reply = live.feed_answer
        live.revoke("session", "wakes the one who waits")
        time.sleep(0.3)
        before = len(live.feed_requests)
        time.sleep(1)
        assert len(live.feed_requests) - before <= 2


class TestRetiredKeys:
    @pytest.fixture
    def leaked(self, live: Issuer) -> Signer:
        return live.signer

    def retire(self, live: Issuer, leaked: Signer, *still_given: Signer) -> None:
        """The issuer ends a key, and signs that with the next one; a cache may go on giving the old one."""
        live.signer = Signer(number=1)
        live.published = [*still_given, live.signer]
        live.revoke("key", leaked.kid)

    @pytest.mark.parametrize("still_given", [(), (Signer(),)], ids=["withdrawn", "still in a cache"])
    def test_verify_nothing_within_5_seconds(
        self, following: AnyVerifier, live: Issuer, leaked: Signer, still_given: tuple[Signer, ...]
    ) -> None:
        known, header = live.sign(), live.header()
        assert outcome(following, known) == "accepted"
        retired_at = time.monotonic()
        self.retire(live, leaked, *still_given)
        assert eventually(lambda: outcome(following, known) is InvalidToken)
        assert time.monotonic() - retired_at < 5
        assert outcome(following, leaked.sign(header, live.claims(jti="signed by the thief"))) is InvalidToken
        assert outcome(following, live.sign()) == "accepted"

    def test_are_told_although_junk_keeps_the_keys_from_being_fetched(
        self, following: AnyVerifier, live: Issuer, leaked: Signer
    ) -> None:
        """A fetch a cooldown is for tokens, whose key ids strangers make up."""
        known = live.sign()
        for number in range(3):
            outcome(following, live.sign(live.header(kid=f"junk {number}")))
        self.retire(live, leaked)
        assert eventually(lambda: outcome(following, known) is InvalidToken)

    def test_sign_no_answer_of_the_feed(self, following: AnyVerifier, live: Issuer, leaked: Signer) -> None:
        self.retire(live, leaked, leaked)
        assert eventually(lambda: following.validator.revocations.contain_key(leaked.kid))
        honest, live.signer = live.signer, leaked
        asked = len(live.feed_requests)
        live.revoke("session", "told by the thief")
        assert eventually(lambda: len(live.feed_requests) > asked + 2)
        assert len(following.validator.revocations) == 1
        live.signer = honest
        assert eventually(lambda: len(following.validator.revocations) == 2)

    def test_are_asked_for_no_more(self, following: AnyVerifier, live: Issuer, leaked: Signer) -> None:
        known = live.sign()
        self.retire(live, leaked)
        assert eventually(lambda: outcome(following, known) is InvalidToken)
        fetched = len(live.jwks_requests)
        assert not following.validator.keys.is_due(leaked.kid)
        assert following.validator.keys.get(leaked.kid) is None
        assert len(live.jwks_requests) == fetched

    def test_are_never_forgotten(self) -> None:
        """Their holder signs tokens that expire whenever he likes."""
        clock = FakeTime()
        revocations = Revocations(clock=clock, clock_skew=0)
        entry = read_revocation({"kind": "key", "id": hash_of("a key"), "exp": int(clock.now) + 1})
        assert entry is not None
        revocations.add([entry])
        clock.advance(10**9)
        revocations.forget_expired()
        assert revocations.contain_key("a key")
        assert not revocations.contain_key("another")


class TestRevocationLists:
    def entry(self, **changes: Any) -> Revocation:
        made: dict[str, Any] = {"kind": "subject", "value_hash": hash_of("ann"), "not_before": 100, "expires_at": 1000}
        return Revocation(**made | changes)

    def test_forget_what_has_expired_for_the_slowest_clock(self) -> None:
        clock = FakeTime()
        revocations = Revocations(clock=clock, clock_skew=30)
        revocations.add([self.entry(expires_at=int(clock.now) + 10), self.entry(kind="session", expires_at=2**39)])
        clock.advance(39)
        revocations.forget_expired()
        assert len(revocations) == 2
        clock.advance(1)
        revocations.forget_expired()
        assert len(revocations) == 1

    def test_never_take_back_what_was_said(self, issuer: Issuer, verifier: AnyVerifier) -> None:
        token = verifier.verify(issuer.token(sub="ann"))
        revocations = Revocations(clock=issuer.clock, clock_skew=0)
        later = int(issuer.clock()) + 1
        for entries in ([later, 1], [1, later]):
            revocations.add([self.entry(not_before=not_before) for not_before in entries])
            assert revocations.contain(token)

    def test_hold_the_hash_that_the_feed_says(self) -> None:
        assert hash_of("abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"


Change = Callable[[Issuer, str | None], Reply]
CHANGES: dict[str, Change] = {
    "signed by somebody else": lambda issuer, since: Reply(
        Signer(number=1).sign(issuer.header(typ="revocations+jwt"), payload(issuer, since)).encode(), "application/jwt"
    ),
    "with a changed signature": lambda issuer, since: Reply(
        issuer.feed_answer(since).body[:-4] + b"AAAA", "application/jwt"
    ),
    "not signed": lambda issuer, since: Reply(json.dumps(payload(issuer, since)).encode(), "application/jwt"),
    "of an unknown key": lambda issuer, since: issuer.feed_answer(since, header={"kid": "unknown"}),
    "of another algorithm": lambda issuer, since: issuer.feed_answer(since, header={"alg": "RS256"}),
    "with one more member in the header": lambda issuer, since: issuer.feed_answer(since, header={"jku": "x"}),
    "of the type of a token": lambda issuer, since: Reply(
        issuer.sign(payload=payload(issuer, since)).encode(), "application/jwt"
    ),
    "of another issuer": lambda issuer, since: issuer.feed_answer(since, iss="https://evil.example"),
    "of no issuer": lambda issuer, since: issuer.feed_answer(since, iss=ABSENT),
    "an old one": lambda issuer, since: issuer.feed_answer(since, iat=int(issuer.clock()) - 60),
    "from the future": lambda issuer, since: issuer.feed_answer(since, iat=int(issuer.clock()) + 60),
    "of no time": lambda issuer, since: issuer.feed_answer(since, iat=ABSENT),
    "of a time in words": lambda issuer, since: issuer.feed_answer(since, iat=str(int(issuer.clock()))),
    "to an earlier question": lambda issuer, since: issuer.feed_answer(since, since="7"),
    "to the first question": lambda issuer, since: issuer.feed_answer(since, since=None),
    "to no question": lambda issuer, since: issuer.feed_answer(since, since=ABSENT),
    "without a cursor": lambda issuer, since: issuer.feed_answer(since, cursor=ABSENT),
    "with a number as cursor": lambda issuer, since: issuer.feed_answer(since, cursor=1),
    "without entries": lambda issuer, since: issuer.feed_answer(since, revocations=ABSENT),
    "with entries that are none": lambda issuer, since: issuer.feed_answer(since, revocations=["session"]),
    "with an entry without an id": lambda issuer, since: issuer.feed_answer(
        since, revocations=[{"kind": "session", "exp": 2**39}]
    ),
    "with a subject without a time": lambda issuer, since: issuer.feed_answer(
        since, revocations=[{"kind": "subject", "id": "a", "exp": 2**39}]
    ),
    "of another media type": lambda issuer, since: Reply(issuer.feed_answer(since).body, "application/json"),
    "an error": lambda issuer, since: Reply(issuer.feed_answer(since).body, "application/jwt", 500),
    "a refusal": lambda issuer, since: Reply(issuer.feed_answer(since).body, "application/jwt", 422),
    "a redirect": lambda issuer, since: Reply(
        issuer.feed_answer(since).body, "application/jwt", 307, {"Location": f"{issuer.issuer}/v1/revocations"}
    ),
    "huge": lambda issuer, since: Reply(issuer.feed_answer(since).body + b"A" * MAX_FEED, "application/jwt"),
    "not ASCII": lambda _, __: Reply(b"\xff", "application/jwt"),
    "empty": lambda _, __: Reply(b"", "application/jwt"),
}

FETCHING = ("an error", "a refusal", "a redirect", "huge")


def payload(issuer: Issuer, since: str | None) -> Any:
    part = issuer.feed_answer(since).body.decode().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def as_answer(reply: Reply) -> Answer:
    return Answer(reply.body, reply.media_type, None)


class TestAnswersOfAFeed:
    @pytest.mark.parametrize("name", [name for name in CHANGES if name not in FETCHING])
    def test_that_are_not_the_issuers_to_this_question_are_not_believed(
        self, issuer: Issuer, time_: FakeTime, name: str
    ) -> None:
        revocations = Revocations(clock=time_, clock_skew=30)
        settings = Settings(issuer=issuer.issuer, audience="a")
        feed = Feed(settings, revocations, clock=time_, timer=time_)
        keys = read_jwks(issuer.jwks().body)

        def take(change: Change) -> None:
            request = feed.next_request()
            jws = feed.read(as_answer(change(issuer, request.since)))
            feed.accept(request, jws, keys.get(jws.kid))

        issuer.revoke("session", "an old one")
        take(Issuer.feed_answer)
        assert (feed.is_stale, len(revocations)) == (True, 1)  # there may be more
        issuer.revoke("session", "a new one")
        with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is told to nobody
            take(CHANGES[name])
        assert (feed.is_stale, len(revocations)) == (True, 1)
        take(Issuer.feed_answer)
        take(Issuer.feed_answer)
        assert (feed.is_stale, len(revocations)) == (False, 2)

    @pytest.mark.parametrize("name", ["an error", "signed by somebody else"])
    def test_that_are_not_believed_let_nobody_in(self, open_verifier: OpenVerifier, live: Issuer, name: str) -> None:
        live.feed_reply = lambda since: CHANGES[name](live, since) if since else live.feed_answer(since)
        live.revoke("session", "an old one")
        verifier = open_verifier(live, sockets=True)
        verifier.start()  # the first answer is good, the second is not
        assert eventually(lambda: len(live.feed_requests) > 2)
        assert len(verifier.validator.revocations) == 1
        assert outcome(verifier, live.sign()) is Unavailable
        assert outcome(verifier, "a.b.c") is InvalidToken
        live.feed_reply = live.feed_answer
        assert eventually(lambda: outcome(verifier, live.sign()) == "accepted")

    def test_that_do_not_come_make_everything_stale_until_one_comes(
        self, open_verifier: OpenVerifier, live: Issuer
    ) -> None:
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, timer=timer)
        verifier.start()
        token = live.sign()
        assert outcome(verifier, token) == "accepted"
        assert eventually(lambda: "wait" in live.feed_requests[-1])
        live.feed_reply = lambda _: Reply(b"", status=503)
        live.revoke("session", "wakes the one who waits")
        asked = len(live.feed_requests)
        assert eventually(lambda: len(live.feed_requests) > asked + 1)
        timer.advance(60)
        assert outcome(verifier, token) == "accepted"
        timer.advance(1)
        assert outcome(verifier, token) is Unavailable
        live.feed_reply = None
        healed_at = time.monotonic()
        assert eventually(lambda: outcome(verifier, token) == "accepted")
        assert time.monotonic() - healed_at < MAX_BACKOFF + 1

    def test_that_refuse_the_cursor_make_the_verifier_ask_for_everything(
        self, following: AnyVerifier, live: Issuer
    ) -> None:
        live.feed_reply = lambda since: Reply(b"", status=422) if since else live.feed_answer(since)
        live.revoke("session", SESSION)
        assert eventually(lambda: outcome(following, live.sign()) is InvalidToken)

    def test_may_be_signed_by_a_new_key(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, timer=timer)
        verifier.start()
        timer.advance(10)
        new = Signer(number=1)
        live.published, live.signer = [live.signer, new], new
        live.revoke("session", SESSION)
        assert eventually(lambda: len(verifier.validator.revocations) == 1)

    def test_renew_the_keys_before_any_request_must_wait_for_them(
        self, open_verifier: OpenVerifier, live: Issuer
    ) -> None:
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, timer=timer)
        verifier.start()
        timer.advance(280)
        live.revoke("session", "another")
        assert eventually(lambda: len(live.jwks_requests) == 2)


class TestTheBackground:
    def test_starts_with_the_first_token(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        verifier = open_verifier(live, sockets=True)
        assert verifier.background() == []
        assert outcome(verifier, live.sign()) == "accepted"
        assert len(verifier.background()) == 1

    def test_starts_once_under_many_tokens(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        verifier = open_verifier(live, sockets=True)
        found = verifier.verify_all([live.token(jti=str(number)) for number in range(32)])
        assert all(isinstance(token, AccessToken) for token in found)
        assert len(verifier.background()) == 1
        assert len(live.jwks_requests) == 1

    def test_ends_at_once_though_it_waits_for_an_answer(self, following: AnyVerifier, live: Issuer) -> None:
        assert eventually(lambda: live.feed_requests[-1].get("wait") == "25")
        time.sleep(0.05)
        started = time.monotonic()
        following.close()
        assert time.monotonic() - started < 1
        assert following.background() == []
        assert outcome(following, live.sign()) is Unavailable

    def test_starts_again(self, following: AnyVerifier, live: Issuer) -> None:
        following.close()
        following.close()
        live.revoke("session", "while it was closed")
        following.start()
        assert outcome(following, live.sign()) == "accepted"
        assert eventually(lambda: len(following.validator.revocations) == 1)

    def test_survives_an_issuer_that_is_away(self, open_verifier: OpenVerifier) -> None:
        issuer = Issuer()
        with listening(issuer) as url:
            port = int(url.rsplit(":", 1)[1])
        verifier = open_verifier(issuer, sockets=True)
        started = time.monotonic()
        verifier.start()
        assert time.monotonic() - started < 2
        assert outcome(verifier, issuer.sign()) is Unavailable
        with listening(issuer, port):
            assert eventually(lambda: outcome(verifier, issuer.sign()) == "accepted")
        token = issuer.sign()
        assert outcome(verifier, token) == "accepted"  # not stale yet
        with listening(issuer, port):
            issuer.revoke("session", SESSION)
            assert eventually(lambda: outcome(verifier, token) is InvalidToken)

    def test_survives_anything_else(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        answers = iter([2])

        def broken() -> float:
            if next(answers, None) is not None:
                raise RuntimeError("no time today")
            return time.time()

        verifier = open_verifier(live, sockets=True, clock=broken)
        verifier.start()
        assert eventually(lambda: outcome(verifier, live.sign()) == "accepted")

    def test_does_not_exist_where_nothing_is_followed(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        verifier = open_verifier(live, sockets=True, follow_revocations=False)
        verifier.start()
        live.revoke("session", SESSION)
        assert outcome(verifier, live.sign()) == "accepted"
        assert (verifier.background(), live.feed_requests) == ([], [])
