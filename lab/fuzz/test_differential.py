"""Whatever is asked, both doors answer the same, and never with an error of ours."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.http.edge.routing import Routes
from lab.fuzz.budget import budget
from lab.fuzz.strategies import countable_requests
from lab.fuzz.twins import Twins
from tests.support.contract import OPERATIONS


def _outcomes(twins: Twins) -> Counter[tuple[str, bool]]:
    """How often each operation was asked, and with success."""
    routes, found = Routes(OPERATIONS.values()), Counter[tuple[str, bool]]()
    for (method, path, status), times in twins.seen.items():
        operation = routes.at(path).get(method)
        if operation is not None:
            found[operation.id, status < 300] += times
    return found


def test_every_request_is_answered_alike_at_both_doors(twins: Twins) -> None:
    twins.seen.clear()

    @budget(3000)
    @given(st.data())
    def search(data: st.DataObject) -> None:
        asked = data.draw(countable_requests(twins.known), label="request")
        twins.reset()
        twins.ask(asked)

    search()
    outcomes = _outcomes(twins)
    # A search that never gets in finds nothing behind the first check.
    assert {name for name, succeeded in outcomes if succeeded} == set(OPERATIONS)


def test_a_row_of_requests_leaves_both_doors_alike(twins: Twins) -> None:
    @budget(120)
    @given(st.data())
    def search(data: st.DataObject) -> None:
        row = data.draw(
            st.lists(countable_requests(twins.known, (0, 0, 0, 0, 1)), min_size=2, max_size=8), label="requests"
        )
        twins.reset()
        for asked in row:
            twins.ask(asked)
            twins.clock.advance(seconds=1)

    search()
