"""No answer and no clock tells who has an account: asked at both doors, with mail that leaves and with mail that waits.

The classes of addresses are asked in rounds, each once a round and in random order, and each answer is measured by
the others of its round: whatever slows the machine down falls on all of them.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import func, make_url, select, update

from core.authentication.passwords.hasher import PasswordHasher
from core.mail.sql import outbox
from core.settings.groups import PasswordSettings
from core.users.sql import users
from lab.rounds import IS_LONG
from tests.support.api import OTHER_PASSWORD, PASSWORD
from tests.support.live import Figures
from tests.support.mail import MailServer
from tests.support.outbox import opened, states
from tests.support.postgres import free_port
from tests.support.servers import CHEAP, FRAMEWORKS, HOST, START_SECONDS, Server, eventually, serving
from tests.support.values import HASH, account

pytestmark = pytest.mark.alone

BLOCK = 100  # rounds; at least one
MOST = 30 * BLOCK
# Rounds go on until the medians are known this well, which takes more of them on a busy machine. When to stop depends
# on the spread alone, and not on what comes out.
PRECISION = 0.015
TOLERANCE = 1.10  # from the fastest class to the slowest
ADDRESSES = 100  # of each class
# The relay is to send mail all the way through for each class that has any.
NO_LIMIT = {"AUTH_MAIL_LIMIT": "1000"}

Answered = tuple[int, tuple[tuple[str, str], ...], bytes]


@dataclass
class Asked:
    """What the addresses of each class were answered, and how long that took."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[str, set[Answered]] = field(default_factory=lambda: defaultdict(set))

    def uniform_answer(self, classes: int) -> Answered:
        """The one answer that all of them were given, in one time."""
        assert len(self.seconds) == classes
        (answer,) = set.union(*self.answers.values())
        medians = self.medians().values()
        assert max(medians) / min(medians) <= TOLERANCE, str(self)
        return answer

    def assert_accepted(self, classes: int) -> None:
        status, *_ = self.uniform_answer(classes)
        assert status == 202

    def medians(self) -> dict[str, float]:
        """How long the answers of each class take, where the median of each round is 1."""
        return {name: statistics.median(shares) for name, shares in self._shares().items()}

    def uncertainty(self) -> float:
        """The standard error of the least certain of these medians, by the ranks around the middle."""

        def error(shares: list[float]) -> float:
            middle, width = len(shares) / 2, math.sqrt(len(shares)) / 2
            return (shares[int(middle + width)] - shares[int(middle - width)]) / 2

        return max(error(shares) for shares in self._shares().values())

    def _shares(self) -> dict[str, list[float]]:
        rounds = zip(*self.seconds.values(), strict=True)
        shares = zip(*([seconds / statistics.median(row) for seconds in row] for row in rounds), strict=True)
        return {name: sorted(found) for name, found in zip(self.seconds, shares, strict=True)}

    def __str__(self) -> str:
        relative = self.medians()
        found = (
            f"{name} {statistics.median(seconds) * 1000:.2f} ms ({relative[name]:.3f})"
            for name, seconds in sorted(self.seconds.items())
        )
        (count,) = {len(seconds) for seconds in self.seconds.values()}
        least = min(rank_sum_p(*pair) for pair in combinations(self.seconds.values(), 2))
        return f"{', '.join(found)}; medians of {count}, and within their rounds; the least p of two is {least:.3f}"


def rank_sum_p(one: list[float], other: list[float]) -> float:
    """How likely so large a difference of ranks is where there is none (Mann and Whitney, by the normal curve).

    For the eye alone: of a hundred comparisons of equals, one is below 0.01, and among thousands of answers ranks find
    any noise of the machine, however small. What decides is whether the medians are within `TOLERANCE` of each other.
    """
    first, second = len(one), len(other)
    ranks = sorted((seconds, number) for number, seconds in enumerate((*one, *other)))
    of_one = sum(rank for rank, (_, number) in enumerate(ranks, start=1) if number < first)
    expected = first * (first + second + 1) / 2
    deviation = math.sqrt(expected * second / 6)
    return math.erfc(abs(of_one - expected) / deviation / math.sqrt(2))


class Door:
    """A connection to a door that stays open: what is measured is the answer, and not a handshake."""

    def __init__(self, server: Server) -> None:
        self._connection = HTTPConnection(HOST, server.port, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def ask(self, path: str, body: str) -> tuple[float, Answered]:
        """An answer without what is its own, and the seconds that it took."""
        started = time.perf_counter()
        fields = {"Content-Type": "application/json", "X-Request-ID": "one-of-many"}  # which a refusal repeats
        self._connection.request("POST", path, body.encode(), fields)
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - started
        named = tuple((name, value) for name, value in response.getheaders() if name.lower() != "date")
        return seconds, (response.status, named, content)


@contextmanager
def connected(server: Server) -> Iterator[Door]:
    door = Door(server)
    try:
        yield door
    finally:
        door.close()


def in_rounds(door: Door, path: str, bodies: Callable[[int], dict[str, str]]) -> Asked:
    """Ask one of each class a round, in an order that is another one each time, until enough is known."""
    asked = Asked()
    for number in range(MOST):
        if number and number % BLOCK == 0 and asked.uncertainty() <= PRECISION:
            break
        of_this_round = bodies(number)
        for name in random.sample(list(of_this_round), len(of_this_round)):
            seconds, answer = door.ask(path, of_this_round[name])
            asked.seconds[name].append(seconds)
            asked.answers[name].add(answer)
    return asked


@contextmanager
def mail_as(way: str) -> Iterator[str]:
    """The address of a mail server that works, or of one that is down."""
    with ExitStack() as stack:
        if way == "mail leaves":
            yield stack.enter_context(MailServer()).url
        else:
            yield f"smtp://{HOST}:{free_port()}"


def with_accounts(url: str, password_hash: str = HASH) -> dict[str, list[str]]:
    """Addresses of each class; those that belong to accounts are put into the database."""
    classes = ("verified", "unverified", "inactive", "unknown")
    addresses = {name: [f"{name}.{number}@example.com" for number in range(ADDRESSES)] for name in classes}
    with opened(url) as store:
        with store.begin() as work:
            for name in classes[:3]:
                for address in addresses[name]:
                    added = work.users.add(account(address, password_hash=password_hash), canonical_email=address)
                    assert added
            work.commit()
        with store.engine.begin() as connection:
            for name, values in (("inactive", {"is_active": False}), ("verified", {"email_verified": True})):
                connection.execute(update(users).where(users.c.email.in_(addresses[name])).values(**values))
    return addresses


def longer(*ways: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What a long round asks as well."""
    return ways if IS_LONG else ()


def on(*databases_and_ways: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("empty_database", "way"), databases_and_ways, indirect=["empty_database"])


# As in production, as in development, and as in production on a bad day.
@on(("postgres", "mail leaves"), *longer(("sqlite", "mail leaves")), ("postgres", "mail is down"))
def test_request_for_a_reset_tells_nobody_who_has_an_account(
    way: str, empty_database: str, tmp_path: Path, figures: Figures
) -> None:
    with mail_as(way) as smtp_url:
        settings = {"AUTH_DATABASE_URL": empty_database, "AUTH_SMTP_URL": smtp_url, **NO_LIMIT, **CHEAP}
        with serving(tmp_path, *FRAMEWORKS, **settings) as servers:
            addresses = with_accounts(empty_database)

            def bodies(number: int) -> dict[str, str]:
                return {name: f'{{"email": "{found[number % ADDRESSES]}"}}' for name, found in addresses.items()}

            for server in servers:
                with connected(server) as door:
                    asked = in_rounds(door, "/v1/send-password-reset", bodies)
                figures(f"{server.framework}, {way}, {make_url(empty_database).get_backend_name()}: {asked}")
                asked.assert_accepted(len(addresses))
            assert_the_relay_was_at_work(empty_database, way)


def assert_the_relay_was_at_work(url: str, way: str) -> None:
    with opened(url) as store:
        if way == "mail leaves":
            assert eventually(lambda: states(store)["sent"] > 0, START_SECONDS)
        else:
            with store.engine.connect() as connection:
                errors = set(connection.scalars(select(outbox.c.last_error)))
            assert "no connection: ConnectionRefusedError" in errors


# The relay that works beside is the one that works beside a reset, so each database and each way is asked but once.
@on(("postgres", "mail leaves"), *longer(("sqlite", "mail is down")))
def test_signup_tells_nobody_who_has_an_account_where_addresses_must_be_verified(
    way: str, empty_database: str, tmp_path: Path, figures: Figures
) -> None:
    with mail_as(way) as smtp_url:
        settings = {
            "AUTH_DATABASE_URL": empty_database,
            "AUTH_SMTP_URL": smtp_url,
            "AUTH_REQUIRE_VERIFIED_EMAIL": "true",
            "AUTH_PASSWORD_BCRYPT_COST": "8",
            "AUTH_THROTTLE": "false",
            **NO_LIMIT,
        }
        with serving(tmp_path, *FRAMEWORKS, **settings) as servers:
            known = with_accounts(empty_database)["verified"]
            signed_up = 0
            for server in servers:

                def bodies(number: int, door: str = server.framework) -> dict[str, str]:
                    addresses = {"new": f"new.{number}.{door}@example.com", "known": known[number % ADDRESSES]}
                    return {
                        name: f'{{"email": "{address}", "password": "{PASSWORD}"}}'
                        for name, address in addresses.items()
                    }

                with connected(server) as door:
                    asked = in_rounds(door, "/v1/signup", bodies)
                figures(f"signup, {server.framework}, {way}, {make_url(empty_database).get_backend_name()}: {asked}")
                asked.assert_accepted(2)
                signed_up += len(asked.seconds["new"])
            assert_the_relay_was_at_work(empty_database, way)
            assert accounts_of_new_addresses(empty_database) == signed_up


def accounts_of_new_addresses(url: str) -> int:
    with opened(url) as store, store.engine.connect() as connection:
        return connection.scalars(select(func.count()).where(users.c.email.startswith("new."))).one()


# Four milliseconds of a core: enough that leaving the hash out would show, and little enough that all else does.
HASH_COST = 6


@pytest.mark.parametrize("empty_database", ["postgres"], indirect=True)
def test_refused_login_tells_nobody_who_has_an_account(empty_database: str, tmp_path: Path, figures: Figures) -> None:
    settings = {
        "AUTH_DATABASE_URL": empty_database,
        "AUTH_PASSWORD_BCRYPT_COST": str(HASH_COST),
        "AUTH_THROTTLE": "false",
    }
    with serving(tmp_path, *FRAMEWORKS, **settings) as servers:
        stored = PasswordHasher(PasswordSettings(bcrypt_cost=HASH_COST)).hash(PASSWORD)
        addresses = with_accounts(empty_database, stored)
        classes = {
            "unknown": (addresses["unknown"], PASSWORD),
            "wrong": (addresses["verified"], OTHER_PASSWORD),
            "inactive": (addresses["inactive"], PASSWORD),
        }

        def bodies(number: int) -> dict[str, str]:
            return {
                name: f'{{"email": "{found[number % ADDRESSES]}", "password": "{password}"}}'
                for name, (found, password) in classes.items()
            }

        for server in servers:
            with connected(server) as door:
                asked = in_rounds(door, "/v1/login", bodies)
            figures(f"login, {server.framework}: {asked}")
            status, _, body = asked.uniform_answer(len(classes))
            assert (status, json.loads(body)["code"]) == (401, "invalid_credentials")
