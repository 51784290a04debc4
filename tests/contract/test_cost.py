"""What a request costs: statements and thread hops, counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.to_thread
import pytest
from sqlalchemy import event

from tests.api import Api


@contextmanager
def statements(api: Api) -> Iterator[list[str]]:
    """Every statement that reaches the driver meanwhile; BEGIN and COMMIT of the pool included."""
    engine = api.auth.store.engine  # type: ignore[attr-defined]  # the SQL store has one
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_whoami_is_one_statement(api: Api) -> None:
    token = api.signed_in()["access_token"]
    with statements(api) as seen:
        assert api.whoami(token).status == 200
    assert len(seen) == 1
    assert seen[0].startswith("SELECT")


def test_refresh_is_one_conditional_update(api: Api) -> None:
    token = api.signed_in()["refresh_token"]
    with statements(api) as seen:
        assert api.refresh(token).status == 200
    written = [statement for statement in seen if not statement.startswith(("SELECT", "BEGIN"))]
    assert len(written) == 1
    assert written[0].startswith("UPDATE sessions SET generation")


def test_a_forged_token_costs_no_statement(api: Api) -> None:
    token = api.signed_in()["access_token"]
    with statements(api) as seen:
        assert api.whoami(token[:-4] + "AAAA").status == 401
    assert seen == []


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_whoami_is_one_thread_hop_at_the_fastapi_door(both: tuple[Api, Api], monkeypatch: pytest.MonkeyPatch) -> None:
    _, api = both
    token = api.signed_in()["access_token"]
    hops: list[Any] = []
    original = anyio.to_thread.run_sync

    async def counted(function: Any, *args: Any, **more: Any) -> Any:
        hops.append(function)
        return await original(function, *args, **more)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    assert api.whoami(token).status == 200
    assert len(hops) == 1
