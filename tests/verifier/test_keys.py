"""The issuer's keys: which are taken, when they are fetched, and what serves while they cannot be."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from jwt.algorithms import OKPAlgorithm
from twinauth_verify import AccessToken, AsyncVerifier, InvalidToken, Unavailable
from twinauth_verify.fetching import MAX_JWKS
from twinauth_verify.keys import read_jwks

from tests.support.issuer import (
    ABSENT,
    ALGORITHMS,
    AUDIENCE,
    SESSION,
    Algorithm,
    FakeTime,
    Issuer,
    Reply,
    Signer,
    changed,
    eventually,
    listening,
)
from tests.support.issuer import public_members as members_of
from tests.support.verifiers import AnyVerifier, OpenVerifier

GOOD = Signer("ES256", 9).jwk


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


class TestKeySets:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_hold_public_keys_of_three_algorithms(self, algorithm: Algorithm) -> None:
        signer = Signer(algorithm)
        bare = changed(signer.jwk, {"alg": ABSENT, "key_ops": ["verify"]})
        for jwk in (signer.jwk, bare):
            key = read_jwks(jwks(jwk))[signer.kid]
            assert (key.kid, key.algorithm) == (signer.kid, algorithm)

    @pytest.mark.parametrize(
        "change",
        [
            {"use": ABSENT}, {"use": "enc"}, {"use": None}, {"kid": ABSENT}, {"kid": ""}, {"kid": 1}, {"kid": "a" * 65},
            {"alg": "ES384"}, {"alg": "HS256"}, {"alg": "none"}, {"alg": None}, {"alg": ["ES256"]}, {"kty": "oct"},
            {"kty": ABSENT}, {"kty": "RSA"}, {"kty": ["EC"]}, {"crv": "P-384"}, {"crv": ABSENT}, {"x": "AA"},
            {"x": ABSENT}, {"y": "AA"}, {"x": 1}, {"d": "AAAA"}, {"k": "AAAA"}, {"key_ops": ["sign"]},
            {"key_ops": "verify"}, {"key_ops": []},
        ],
        ids=str,
    )  # fmt: skip
    def test_pass_over_a_key_that_is_not_to_be_used(self, change: dict[str, Any]) -> None:
        bad = changed(Signer().jwk, change)
        assert list(read_jwks(jwks(GOOD, bad))) == [GOOD["kid"]]
        with pytest.raises(ValueError, match="no key"):
            read_jwks(jwks(bad))

    @pytest.mark.parametrize(
        "members",
        [
            {"kty": "oct", "k": "AAAA", "alg": "HS256"},
            {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
            members_of(ec.generate_private_key(ec.SECP384R1())),
            members_of(ec.generate_private_key(ec.SECP256K1())),
            members_of(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
            OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True),
            "text", 1, None, [],
        ],
        ids=["oct", "X25519", "P-384", "secp256k1", "RSA 1024", "Ed448", "text", "number", "null", "list"],
    )  # fmt: skip
    def test_pass_over_other_kinds_of_keys(self, members: Any) -> None:
        key = members | {"kid": "a", "use": "sig"} if isinstance(members, dict) else members
        assert list(read_jwks(jwks(key, GOOD))) == [GOOD["kid"]]

    @pytest.mark.parametrize(
        "raw",
        [
            b"", b"{}", b"[]", b"null", b'{"keys": {}}', b'{"keys": []}', b'{"keys": null}', b"\xff", b"<html>",
            b'{"keys": [], "keys": []}', b"\xef\xbb\xbf" + jwks(GOOD), jwks(GOOD).decode().encode("utf-16"),
            jwks(GOOD, GOOD), jwks(GOOD, changed(Signer().jwk, {"kid": GOOD["kid"]})), b"[" * 100_000,
        ],
        ids=lambda raw: ascii(raw)[:30],
    )  # fmt: skip
    def test_that_are_garbage_are_refused_as_a_whole(self, raw: bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is told to nobody
            read_jwks(raw)


def outcome(verifier: AnyVerifier, text: str) -> Any:
    found = verifier.verify_all([text])[0]
    return "accepted" if isinstance(found, AccessToken) else found


class TestFetching:
    def test_happens_once_for_many_tokens_at_once(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        live.jwks_reply = lambda: Reply(jwks(live.signer.jwk), delay=0.1)
        verifier = open_verifier(live, sockets=True, follow_revocations=False)
        found = verifier.verify_all([live.token(jti=str(number)) for number in range(32)])
        assert all(isinstance(token, AccessToken) for token in found)
        assert len(live.jwks_requests) == 1

    def test_for_unknown_kids_happens_once_a_cooldown(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, follow_revocations=False, timer=timer)
        verifier.start()
        for fetched in (2, 3):
            timer.advance(10)
            texts = [live.sign(live.header(kid=f"unknown {fetched} {number}")) for number in range(32)]
            assert InvalidToken in verifier.verify_all(texts), "for the one that fetched"
            assert set(verifier.verify_all(texts)) == {InvalidToken}
            assert len(live.jwks_requests) == fetched

    def test_while_the_issuer_hangs_keeps_one_waiting_and_answers_the_others_at_once(
        self, open_verifier: OpenVerifier, live: Issuer
    ) -> None:
        """Whether their keys are known or not; strangers can make up any number of unknown ones."""
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, follow_revocations=False, timer=timer, timeout=3)
        verifier.start()
        timer.advance(10)
        keys = jwks(live.signer.jwk)
        live.jwks_reply = lambda: Reply(keys, delay=2)
        started = time.monotonic()
        with ThreadPoolExecutor(1) as first:
            waiting = first.submit(verifier.verify_all, [live.sign(live.header(kid="unknown"))])
            assert eventually(lambda: len(live.jwks_requests) == 2, 2)
            texts = [live.sign(live.header(kid=f"unknown {number}")) for number in range(15)]
            found = verifier.verify_all([*texts, live.sign()])
            assert time.monotonic() - started < 1.5
            assert set(found[:-1]) == {Unavailable}
            assert isinstance(found[-1], AccessToken)
            assert waiting.result() == [InvalidToken]

    def test_brings_a_new_key_without_a_restart(self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime) -> None:
        old = issuer.sign()
        assert outcome(verifier, old) == "accepted"
        time_.advance(10)
        new = Signer(number=1)
        issuer.published = [issuer.signer, new]
        issuer.signer = new
        assert outcome(verifier, issuer.sign()) == outcome(verifier, old) == "accepted"
        assert len(issuer.jwks_requests) == 2

    def test_again_takes_back_a_key_and_the_tokens_that_were_verified_under_it(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime
    ) -> None:
        token = issuer.sign()
        assert outcome(verifier, token) == "accepted"
        issuer.published = [Signer(number=1)]
        time_.advance(299)
        assert outcome(verifier, token) == "accepted"
        time_.advance(1)
        assert outcome(verifier, token) is InvalidToken

    def test_again_takes_back_tokens_if_a_key_changed_under_its_kid(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime
    ) -> None:
        token = issuer.sign()
        assert outcome(verifier, token) == "accepted"
        other = Signer(number=1).jwk | {"kid": issuer.signer.kid}
        issuer.jwks_reply = lambda: Reply(jwks(other))
        time_.advance(300)
        assert outcome(verifier, token) is InvalidToken

    @pytest.mark.parametrize(
        ("cache_control", "fresh_for"),
        [
            ("public, max-age=60", 60), ("max-age=0", 10), ("no-store", 300), ("MAX-AGE=20, public", 20), ("", 300),
            ("s-max-age=7", 300), ("max-age=99999999", 3600), ("max-age=-1", 300), ("max-age=x", 300),
        ],
    )  # fmt: skip
    def test_comes_again_when_the_issuer_says_so(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime, cache_control: str, fresh_for: int
    ) -> None:
        issuer.jwks_reply = lambda: Reply(jwks(issuer.signer.jwk), headers={"Cache-Control": cache_control})
        verifier.start()
        for elapsed, fetched in ((fresh_for - 1, 1), (1, 2), (fresh_for - 1, 2), (1, 3)):
            time_.advance(elapsed)
            assert outcome(verifier, issuer.sign()) == "accepted"
            assert len(issuer.jwks_requests) == fetched

    def test_is_not_asked_for_again_by_a_kid_that_the_issuer_does_not_know(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime
    ) -> None:
        verifier.start()
        for elapsed, fetched in ((10, 2), (10, 2), (19, 2), (1, 3)):
            time_.advance(elapsed)
            assert outcome(verifier, issuer.sign(issuer.header(kid="unknown"))) is InvalidToken
            assert len(issuer.jwks_requests) == fetched

    def test_leaves_a_bounded_memory_of_unknown_kids(
        self, open_verifier: OpenVerifier, issuer: Issuer, time_: FakeTime
    ) -> None:
        verifier = open_verifier(issuer, follow_revocations=False, unknown_kids=8, refresh_after=10**6)
        for number in range(50):
            time_.advance(10)
            assert outcome(verifier, issuer.sign(issuer.header(kid=f"unknown {number}"))) is InvalidToken
            assert verifier.validator.keys.remembered_unknown <= 8
        assert verifier.validator.keys.remembered_unknown == 8

    def test_of_malformed_tokens_never_happens(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        for text in ("", "a.b.c", issuer.sign(issuer.header(typ="JWT")), issuer.sign(issuer.header(jku="x"))):
            assert outcome(verifier, text) is InvalidToken
        assert issuer.jwks_requests == []


def down(_: Issuer) -> Reply:
    return Reply(b"", status=503)


def garbage(_: Issuer) -> Reply:
    return Reply(b"<html>")


def no_keys(_: Issuer) -> Reply:
    return Reply(jwks())


def redirect(issuer: Issuer) -> Reply:
    return Reply(b"", status=302, headers={"Location": f"{issuer.issuer}/elsewhere"})


def huge(issuer: Issuer) -> Reply:
    return Reply(jwks(issuer.signer.jwk) + b" " * MAX_JWKS)


def endless(issuer: Issuer) -> Reply:
    return Reply(jwks(issuer.signer.jwk), drip=0.02)


def silent(issuer: Issuer) -> Reply:
    return Reply(jwks(issuer.signer.jwk), delay=0.6)


def compressed(_: Issuer) -> Reply:
    return Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


FAULTS: list[Callable[[Issuer], Reply]] = [down, garbage, no_keys, redirect, huge, endless, silent, compressed]


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
    def test_leave_nothing_to_verify_with_until_they_end(
        self, open_verifier: OpenVerifier, live: Issuer, fault: Callable[[Issuer], Reply]
    ) -> None:
        timer = FakeTime()
        live.jwks_reply = lambda: fault(live)
        verifier = open_verifier(live, sockets=True, follow_revocations=False, timer=timer, timeout=0.3)
        started = time.monotonic()
        assert outcome(verifier, live.sign()) is Unavailable
        assert time.monotonic() - started < 2
        assert outcome(verifier, live.sign()) is Unavailable
        assert len(live.jwks_requests) == 1  # not one more for a second token, nor for a redirect
        live.jwks_reply = None
        timer.advance(1)
        assert outcome(verifier, live.sign()) == "accepted"

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
    def test_leave_the_last_known_good_keys(
        self, open_verifier: OpenVerifier, live: Issuer, fault: Callable[[Issuer], Reply]
    ) -> None:
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, follow_revocations=False, timer=timer, timeout=0.3)
        verifier.start()
        live.jwks_reply = lambda: fault(live)
        timer.advance(300)
        assert outcome(verifier, live.token()) == "accepted"
        assert outcome(verifier, live.sign(live.header(kid="unknown"))) is InvalidToken
        assert len(live.jwks_requests) == 2

    def test_of_a_day_end_the_trust_in_old_keys(self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime) -> None:
        verifier.start()
        issuer.jwks_reply = lambda: down(issuer)
        time_.advance(86399)
        assert outcome(verifier, issuer.sign()) == "accepted"
        time_.advance(1)
        assert outcome(verifier, issuer.sign()) is Unavailable
        assert outcome(verifier, "a.b.c") is InvalidToken
        issuer.jwks_reply = None
        time_.advance(10)
        assert outcome(verifier, issuer.sign()) == "accepted"

    def test_of_a_slow_issuer_keep_only_one_request_waiting(self, open_verifier: OpenVerifier, live: Issuer) -> None:
        timer = FakeTime()
        verifier = open_verifier(live, sockets=True, follow_revocations=False, timer=timer)
        verifier.start()
        live.jwks_reply = lambda: Reply(jwks(live.signer.jwk), delay=0.5)
        timer.advance(300)
        slow = threading.Thread(target=verifier.verify, args=(live.sign(),))
        slow.start()
        assert eventually(lambda: len(live.jwks_requests) == 2)
        started = time.monotonic()
        assert outcome(verifier, live.token(jti="another")) == "accepted"
        assert time.monotonic() - started < 0.3
        slow.join()

    def test_of_a_refused_connection_heal(self, open_verifier: OpenVerifier) -> None:
        issuer = Issuer()
        with listening(issuer) as url:
            port = int(url.rsplit(":", 1)[1])
        timer = FakeTime()
        verifier = open_verifier(issuer, sockets=True, follow_revocations=False, timer=timer)
        assert outcome(verifier, issuer.sign()) is Unavailable
        with listening(issuer, port):
            timer.advance(1)
            assert outcome(verifier, issuer.sign()) == "accepted"

    def test_that_are_a_client_who_goes_away_do_not_take_the_keys_of_others_along(self, live: Issuer) -> None:
        live.jwks_reply = lambda: Reply(jwks(live.signer.jwk), delay=0.2)

        async def scene() -> None:
            verifier = AsyncVerifier(issuer=live.issuer, audience=AUDIENCE, follow_revocations=False)
            first = asyncio.create_task(verifier.verify(live.sign()))
            await asyncio.sleep(0.05)
            first.cancel()
            assert (await verifier.verify(live.sign())).subject
            await verifier.close()

        asyncio.run(scene())
        assert len(live.jwks_requests) == 1

    def test_that_are_an_event_loop_which_ended_are_left_behind_with_it(self, live: Issuer) -> None:
        """Test clients of frameworks run each request in a loop of its own."""
        verifier = AsyncVerifier(issuer=live.issuer, audience=AUDIENCE)
        for _ in range(3):
            assert asyncio.run(verifier.verify(live.sign())).subject
        live.revoke("session", SESSION)
        with pytest.raises(InvalidToken):
            asyncio.run(heard(verifier, live))


async def heard(verifier: AsyncVerifier, issuer: Issuer) -> AccessToken:
    while not len(verifier.validator.revocations):
        await verifier.verify(issuer.token(sid="another"))
        await asyncio.sleep(0.02)
    return await verifier.verify(issuer.sign())


class TestMemoryOfTokens:
    def test_spares_the_second_verification(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        token = issuer.sign()
        assert verifier.verify(token) is verifier.verify(token)

    def test_is_bounded(self, open_verifier: OpenVerifier, issuer: Issuer) -> None:
        verifier = open_verifier(issuer, follow_revocations=False, cached_tokens=8)
        tokens = [issuer.token(jti=str(number)) for number in range(20)]
        for token in tokens:
            verifier.verify(token)
        assert verifier.validator.remembered_tokens == 8
        first = verifier.verify(tokens[-1])
        assert verifier.verify(tokens[0]).token_id == "0"
        assert verifier.verify(tokens[-1]) is first

    def test_holds_nothing_that_was_refused(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        text, _, signature = issuer.sign().rpartition(".")
        forged = f"{text}.{'BA'[signature[0] == 'B']}{signature[1:]}"
        for text in (forged, issuer.token(aud="x"), "a.b.c"):
            assert outcome(verifier, text) is InvalidToken
        assert verifier.validator.remembered_tokens == 0

    def test_does_not_make_a_token_outlive_itself(self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime) -> None:
        token = issuer.sign()
        assert outcome(verifier, token) == "accepted"
        time_.advance(929)
        assert outcome(verifier, token) == "accepted"
        time_.advance(1)
        assert outcome(verifier, token) is InvalidToken
        time_.advance(-1000)
        assert outcome(verifier, token) is InvalidToken
