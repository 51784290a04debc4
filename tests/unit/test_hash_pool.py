"""The hash pool: how many hash at once, how long a request waits, and whose turn comes next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.authentication.errors import Overloaded
from core.authentication.passwords.fair_queue import REMEMBERED, FairQueue, Requester
from core.authentication.passwords.hash_pool import FIRST_GUESS, HashPool

ANN = Requester(block="203.0.113.1", account="ann@example.com")
BEN = Requester(block="203.0.113.2", account="ben@example.com")
LONG = 60.0


def of(block: str, account: str = "ann@example.com") -> Requester:
    return Requester(block=block, account=account)


def order_of(requesters: Sequence[Requester]) -> list[Requester]:
    queue = FairQueue[Requester]()
    for requester in requesters:
        queue.add(requester, requester)
    found = []
    while (item := queue.pop(lambda _: True)) is not None:
        found.append(item)
    return found


class TestTurns:
    def test_of_one_requester_come_in_the_order_of_arrival(self) -> None:
        queue = FairQueue[int]()
        for number in range(5):
            queue.add(ANN, number)
        assert [queue.pop(lambda _: True) for _ in range(6)] == [0, 1, 2, 3, 4, None]

    def test_go_round_the_blocks(self) -> None:
        a, b, c = of("a"), of("b"), of("c")
        assert order_of([a, a, a, b, b, c]) == [a, b, c, a, b, a]

    def test_go_round_the_accounts_of_a_block(self) -> None:
        mine, hers = of("a", "mine"), of("a", "hers")
        assert order_of([mine, mine, mine, mine, hers]) == [mine, hers, mine, mine, mine]

    def test_pass_over_a_request_that_is_not_ready_and_come_back_to_it(self) -> None:
        queue = FairQueue[str]()
        queue.add(ANN, "in the database")
        queue.add(BEN, "waits")
        assert queue.pop(lambda item: item == "waits") == "waits"
        assert queue.pop(lambda item: item == "waits") is None
        assert queue.pop(lambda _: True) == "in the database"

    def test_are_first_of_a_block_that_had_none_or_none_for_longest(self) -> None:
        """A block that always has somebody waiting comes behind one that has just arrived."""
        queue = FairQueue[str]()
        crowds = [of(f"crowd {number}") for number in range(3)]
        for crowd in crowds * 2:
            queue.add(crowd, crowd.block)
        assert [queue.pop(lambda _: True) for _ in range(2)] == ["crowd 0", "crowd 1"]
        queue.add(crowds[0], "crowd 0")
        queue.add(ANN, "ann")
        assert [queue.pop(lambda _: True) for _ in range(5)] == ["crowd 2", "ann", "crowd 0", "crowd 1", "crowd 2"]

    def test_of_a_block_that_comes_again_are_behind_those_that_waited_meanwhile(self) -> None:
        queue = FairQueue[str]()
        queue.add(ANN, "ann")
        assert queue.pop(lambda _: True) == "ann"
        queue.add(ANN, "ann again")
        queue.add(BEN, "ben")
        assert queue.pop(lambda _: True) == "ben"

    def test_are_remembered_of_so_many(self) -> None:
        queue = FairQueue[int]()
        for number in range(REMEMBERED):
            queue.add(of(str(number)), number)
            queue.pop(lambda _: True)
        assert len(queue._last_turn) == REMEMBERED

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=30), st.data())
    def test_are_never_later_than_foretold(self, asked: list[tuple[str, str]], data: st.DataObject) -> None:
        queue = FairQueue[object]()
        for block, account in asked:
            queue.add(of(block, account), object())
            if data.draw(st.booleans()):
                queue.pop(lambda _: True)
        newest, requester = object(), of(data.draw(st.sampled_from("abcd")), data.draw(st.sampled_from("xyz")))
        foretold = queue.turns_before(requester)
        queue.add(requester, newest)
        before = 0
        while queue.pop(lambda _: True) is not newest:
            before += 1
        assert before <= foretold

    def test_of_those_who_left_are_nobodys(self) -> None:
        queue = FairQueue[int]()
        queue.add(ANN, 1)
        queue.add(BEN, 2)
        queue.remove(ANN, 1)
        assert (queue.size_of(ANN.block), queue.size_of(BEN.block), queue.largest()) == (0, 1, (BEN.block, 1))
        assert queue.pop(lambda _: True) == 2
        assert queue.largest() == ("", 0)


@contextmanager
def busy(pool: HashPool, cores: int = 1) -> Iterator[None]:
    """Keep every core of the pool hashing meanwhile."""
    begun, may_end = threading.Barrier(cores + 1), threading.Event()

    def hash_for_long() -> None:
        begun.wait(10)
        assert may_end.wait(10)

    with ThreadPoolExecutor(cores) as threads:
        for _ in range(cores):
            threads.submit(pool.run, hash_for_long)
        begun.wait(10)
        try:
            yield
        finally:
            may_end.set()


def until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def contended(pool: HashPool, requesters: Sequence[Requester], ran: list[Requester]) -> Iterator[list[Future[None]]]:
    """Keep the one core hashing, with requests behind it in this order of arrival; at the end they get their turns."""

    def ask(requester: Requester) -> None:
        with pool.reserve(requester):
            pool.run(ran.append, requester)

    with ThreadPoolExecutor(len(requesters)) as threads, busy(pool):
        futures = []
        for requester in requesters:
            held = pool._held
            futures.append(threads.submit(ask, requester))
            until(lambda held=held: pool._held > held)  # type: ignore[misc]  # a default of a lambda
        yield futures


class TestAtOnce:
    def test_run_as_many_as_there_are_cores_and_no_more(self) -> None:
        pool = HashPool(cores=2, places=20, wait=LONG)
        entered, may_leave = threading.Semaphore(0), threading.Event()
        inside: set[int] = set()
        seen: list[int] = []

        def hash_once() -> None:
            inside.add(threading.get_ident())
            seen.append(len(inside))
            entered.release()
            assert may_leave.wait(10)
            inside.discard(threading.get_ident())

        with ThreadPoolExecutor(20) as threads:
            futures = [threads.submit(pool.run, hash_once) for _ in range(20)]
            assert entered.acquire(timeout=10)
            assert entered.acquire(timeout=10)
            assert not entered.acquire(timeout=0.1)  # nobody else comes in, though eighteen wait
            may_leave.set()
            for future in futures:
                future.result(10)
        assert (len(seen), max(seen)) == (20, 2)


class TestARequest:
    def test_is_refused_at_once_if_its_turn_would_come_too_late(self) -> None:
        pool = HashPool(cores=1, places=100, wait=2.5 * FIRST_GUESS)
        ran: list[Requester] = []
        with contended(pool, [ANN] * 2, ran):
            started = time.monotonic()
            with pytest.raises(Overloaded), pool.reserve(ANN):
                pass
            assert time.monotonic() - started < 0.1
            with pool.reserve(BEN):  # whose turn comes after the first of them
                pass
        assert ran == [ANN] * 2

    def test_is_refused_when_its_turn_has_not_come_in_time(self) -> None:
        pool = HashPool(cores=1, places=100, wait=FIRST_GUESS)
        with busy(pool), pytest.raises(Overloaded):
            pool.run(int)
        until(lambda: pool._held == 0)
        assert pool.run(int) == 0

    def test_has_a_place_for_all_its_hashes_and_finishes_before_others_begin(self) -> None:
        pool = HashPool(cores=1, places=100, wait=LONG)
        ran: list[Requester] = []
        has_begun, may_go_on = threading.Event(), threading.Event()

        def hash_twice() -> None:
            with pool.reserve(ANN):
                pool.run(int)
                has_begun.set()
                assert may_go_on.wait(10)
                pool.run(ran.append, ANN)

        with ThreadPoolExecutor(1) as threads:
            twice = threads.submit(hash_twice)
            assert has_begun.wait(10)
            with contended(pool, [BEN], ran):
                may_go_on.set()
                until(lambda: len(pool._continuing) == 1)
            twice.result(10)
        assert ran == [ANN, BEN]

    def test_gives_its_turn_and_its_place_back_after_an_error(self) -> None:
        pool = HashPool(cores=1, places=0, wait=0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                pool.run(divmod, 1, 0)
        with pytest.raises(ZeroDivisionError), pool.reserve(ANN):
            raise ZeroDivisionError
        assert pool.run(int) == 0
        assert pool._held == 0

    def test_that_was_refused_keeps_no_place(self) -> None:
        pool = HashPool(cores=1, places=0, wait=0)
        with busy(pool):
            for _ in range(3):
                with pytest.raises(Overloaded):
                    pool.run(int)
        until(lambda: pool._held == 0)
        assert pool.run(int) == 0

    def test_waits_no_longer_than_hashes_take_lately(self) -> None:
        """At first a hash is believed to take a quarter of a second; of quick ones, more can wait."""
        pool = HashPool(cores=1, places=100, wait=2 * FIRST_GUESS)
        for _ in range(40):
            pool.run(int)
        ran: list[Requester] = []
        with contended(pool, [ANN] * 50, ran):
            pass
        assert len(ran) == 50


class TestAFullQueue:
    def test_takes_a_place_from_the_youngest_of_the_largest_block(self) -> None:
        pool = HashPool(cores=1, places=4, wait=LONG)
        ran: list[Requester] = []
        crowd = [of("crowd", str(number)) for number in range(3)]
        with contended(pool, [*crowd, BEN], ran) as futures, pool.reserve(ANN), pytest.raises(Overloaded):
            futures[2].result(10)
        assert ran == [crowd[0], BEN, crowd[1]]

    def test_refuses_a_block_that_would_have_as_much_as_the_largest(self) -> None:
        pool = HashPool(cores=1, places=4, wait=LONG)
        ran: list[Requester] = []
        with contended(pool, [of("crowd")] * 2 + [BEN] * 2, ran):
            with pytest.raises(Overloaded), pool.reserve(BEN):
                pass
            with pool.reserve(ANN):
                pass
        assert len(ran) == 3

    def test_refuses_as_well_a_request_that_is_still_elsewhere(self) -> None:
        pool = HashPool(cores=1, places=2, wait=LONG)
        ran: list[Requester] = []

        def come_from_a_smaller_block() -> None:
            with pool.reserve(ANN):
                pass

        with ThreadPoolExecutor(1) as threads, contended(pool, [of("crowd")], ran), pool.reserve(of("crowd")):
            threads.submit(come_from_a_smaller_block).result(10)
            with pytest.raises(Overloaded):
                pool.run(int)
        assert ran == [of("crowd")]


def test_twelve_that_wait_for_one_account_leave_each_second_turn_to_the_others() -> None:
    pool = HashPool(cores=1, places=40, wait=LONG)
    crowd = of("crowd", "theirs")
    ran: list[Requester] = []
    others = [of(f"198.51.100.{number}") for number in range(3)]
    with contended(pool, [crowd] * 12 + others, ran):
        pass
    assert [requester for requester in ran[:4] if requester is not crowd] == others
