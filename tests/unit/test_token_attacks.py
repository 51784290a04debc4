"""Tokens that are not what they seem: both readers refuse each with one and the same error, and ask nobody anything.

The readers are the service's own (core/tokens/access_tokens.py) and that of the services behind it, twinauth_verify,
for threads and for tasks. They share no code; what they must refuse stands in tests/support/token_attacks.py.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from twinauth_verify import AsyncVerifier, Expectations, Verifier, verify_token
from twinauth_verify import InvalidToken as VerifierInvalidToken
from twinauth_verify.keys import read_jwks
from twinauth_verify.tokens import MAX_CHARACTERS as VERIFIER_MAX_CHARACTERS

from core.errors import InvalidToken
from core.sql_store import SqlStore
from core.tokens.access_tokens import MAX_CHARACTERS
from tests.support.clock import FakeClock
from tests.support.issuer import ALGORITHMS, AUDIENCE, Algorithm, FakeTime, Issuer, Signer
from tests.support.token_attacks import (
    ATTACKS,
    ATTACKS_ON_EACH_ALGORITHM,
    JUNK,
    Attack,
    nested,
    other_spare_bits,
    padded_to,
    renderings,
    spare_bits,
)
from tests.support.token_attacks import MAX_CHARACTERS as LIMIT
from tests.support.token_readers import service_reader
from tests.support.verifiers import Asynchronous, Synchronous, offline

Read = Callable[[Any], object]
READERS = ("service", "verifier", "asynchronous verifier", "pure function")


class Reader:
    """A reader that trusts the key of an issuer."""

    def __init__(self, read: Read, error: type[Exception], issuer: Issuer) -> None:
        self._read = read
        self._error = error
        self.issuer = issuer

    def accepts(self, text: Any) -> bool:
        """Whether a token is accepted, or refused with more to learn than that it is."""
        try:
            self._read(text)
        except self._error as error:
            return type(error) is not self._error or not _is_mute(error)
        return True

    def accepted(self, texts: Iterable[str]) -> list[str]:
        """Those of many that are accepted. The control without which a refusal says nothing: a good one is."""
        assert self.accepts(self.issuer.sign())
        tried = list(texts)
        assert tried
        found = [text for text in tried if self.accepts(text)]
        assert self.accepts(self.issuer.sign())
        return found


def _is_mute(error: Exception) -> bool:
    """Whether an error carries nothing of what caused it."""
    return error.__suppress_context__ or error.__context__ is None


OpenReader = Callable[[Issuer], Reader]


@pytest.fixture(params=READERS)
def open_reader(
    request: pytest.FixtureRequest, new_store: Callable[[], SqlStore], loop: asyncio.AbstractEventLoop
) -> Iterator[OpenReader]:
    with ExitStack() as stack:

        def make(issuer: Issuer) -> Reader:
            if request.param == "service":
                return Reader(service_reader(issuer, new_store(), FakeClock()).verify, InvalidToken, issuer)
            if request.param == "pure function":
                keys = read_jwks(issuer.jwks().body)
                expectations = Expectations(issuer=issuer.issuer, audience=AUDIENCE)
                read = partial(verify_token, keys=keys, expectations=expectations, now=issuer.clock())
                return Reader(read, VerifierInvalidToken, issuer)
            options: dict[str, Any] = {"issuer": issuer.issuer, "audience": AUDIENCE, "follow_revocations": False}
            options |= {"transport": offline(issuer), "clock": issuer.clock, "timer": issuer.clock}
            verifier = (
                Synchronous(Verifier(**options))
                if request.param == "verifier"
                else Asynchronous(AsyncVerifier(**options), loop)
            )
            stack.callback(verifier.close)
            return Reader(verifier.verify, VerifierInvalidToken, issuer)

        yield make


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(clock=FakeTime())


@pytest.fixture
def reader(open_reader: OpenReader, issuer: Issuer) -> Reader:
    return open_reader(issuer)


def successful(attacks: dict[str, Attack], reader: Reader) -> dict[str, list[str]]:
    """The attacks after which a token was accepted, with these tokens."""
    outcome = {name: reader.accepted(attack(reader.issuer)) for name, attack in attacks.items()}
    return {name: accepted for name, accepted in outcome.items() if accepted}


def test_no_attack_succeeds(reader: Reader) -> None:
    assert successful(ATTACKS, reader) == {}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_attack_on_an_algorithm_succeeds(open_reader: OpenReader, issuer: Issuer, algorithm: Algorithm) -> None:
    issuer.signer = Signer(algorithm)
    assert successful(ATTACKS_ON_EACH_ALGORITHM, open_reader(issuer)) == {}


def test_other_spare_bits_of_a_token_that_was_verified_before_are_refused(reader: Reader, issuer: Issuer) -> None:
    """A reader that remembers what it verified must know it by every bit."""
    token = issuer.sign()
    head, signature = token.rsplit(".", 1)
    assert reader.accepts(token)
    assert reader.accepted(f"{head}.{other}" for other in spare_bits(signature)) == []


def test_header_is_accepted_whatever_its_order_and_spaces(reader: Reader, issuer: Issuer) -> None:
    header = json.dumps(dict(reversed(issuer.header().items())), indent=4)
    assert reader.accepts(issuer.sign(header.encode()))


def test_type_is_accepted_in_either_form_and_any_case(reader: Reader, issuer: Issuer) -> None:
    """RFC 9068 section 4."""
    for typ in ("at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+jwt", "APPLICATION/AT+JWT"):
        assert reader.accepts(issuer.sign(issuer.header(typ=typ))), typ


def test_no_token_makes_anybody_fetch_anything(reader: Reader, issuer: Issuer) -> None:
    reader.accepts(issuer.sign())
    fetched = len(issuer.jwks_requests)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/key"
        for member in ({"jku": url}, {"x5u": url}, {"kid": url}, {"jku": url, "kid": url}, {"iss": url}):
            assert not reader.accepts(issuer.sign(issuer.header(**member))), member
        assert not reader.accepts(issuer.token(iss=url, jku=url))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert len(issuer.jwks_requests) == fetched


def test_up_to_8192_characters_are_read_and_one_more_is_not(reader: Reader, issuer: Issuer) -> None:
    assert MAX_CHARACTERS == VERIFIER_MAX_CHARACTERS == LIMIT
    fitting = padded_to(issuer, LIMIT)
    assert reader.accepts(fitting)
    assert not reader.accepts(fitting + "A" * (LIMIT + 1 - len(fitting)))


def test_junk_and_nesting_cost_nothing(reader: Reader, issuer: Issuer) -> None:
    reader.accepts(issuer.sign())
    for text in (*JUNK, *nested(issuer)):
        assert min(cost_of_refusing(reader, text) for _ in range(3)) < 0.05, text[:20]


def cost_of_refusing(reader: Reader, text: str) -> float:
    """Measure the CPU seconds that a refusal takes, in whichever thread."""
    started = time.process_time()
    assert not reader.accepts(text)
    return time.process_time() - started


def test_the_tables_say_what_they_are_meant_to_say(issuer: Issuer) -> None:
    assert spare_bits("AA") != []
    assert spare_bits("AAAA") == []
    assert len(list(other_spare_bits(issuer))) > 40
    for algorithm in ALGORITHMS:
        assert len(set(renderings(Signer(algorithm)))) > 25
