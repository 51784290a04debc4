"""The checker itself: histories that may have happened, histories that may not, and a database that breaks its word."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from api_flask.app import create_app
from core.app import build
from core.settings.groups import DatabaseSettings
from core.sql_store import open_store
from lab.faults.history import (
    NEVER,
    Kind,
    Operation,
    Outcome,
    Record,
    Remains,
    StoredAccount,
    StoredSession,
    violations,
)
from lab.faults.postgres import own_postgres
from lab.faults.setup import GRACE as GRACE_OF_THE_SERVICE
from lab.faults.workload import Account, Service, Users, remains_of
from migrations.runner import upgrade
from tests.support.api import Api
from tests.support.clock import FakeClock
from tests.support.drivers import WsgiDriver
from tests.support.servers import eventually
from tests.support.settings import AMPLE, make_settings

ANN, BOB, EVE = (uuid.UUID(int=number) for number in (1, 2, 3))
ONE, TWO = (uuid.UUID(int=number) for number in (11, 12))
ADDRESS = "ann@example.com"
GRACE = 10.0


def _operation(kind: Kind, start: float, end: float, outcome: Outcome, status: int, **known: Any) -> Operation:
    completed = NEVER if outcome == Outcome.UNKNOWN else end
    made = Operation(kind=kind, invoked=start, address=ADDRESS, outcome=outcome, status=status, answered=end, **known)
    return replace(made, completed=completed)


def _ok(kind: Kind, start: float, end: float, **known: Any) -> Operation:
    return _operation(kind, start, end, Outcome.OK, 200, **known)


def _refused(kind: Kind, start: float, end: float, *, status: int = 401, **known: Any) -> Operation:
    return _operation(kind, start, end, Outcome.REFUSED, status, **known)


def _unknown(kind: Kind, start: float, end: float, **known: Any) -> Operation:
    return _operation(kind, start, end, Outcome.UNKNOWN, 503, **known)


def _failed(kind: Kind, start: float, end: float, **known: Any) -> Operation:
    return _operation(kind, start, end, Outcome.FAILED, 0, **known)


def _account(user: uuid.UUID = ANN, *, opened_by: str = "first") -> StoredAccount:
    return StoredAccount(id=user, address=ADDRESS, opened_by=frozenset(opened_by.split()))


def _session(session: uuid.UUID = ONE, *, generation: int = 0, has_ended: bool = False) -> StoredSession:
    return StoredSession(id=session, user=ANN, generation=generation, has_ended=has_ended)


def _remains(*stored: StoredAccount | StoredSession, resets: int = 0) -> Remains:
    return Remains(
        accounts=tuple(found for found in stored if isinstance(found, StoredAccount)),
        sessions=tuple(found for found in stored if isinstance(found, StoredSession)),
        resets={ADDRESS: resets},
    )


def _found(operations: Sequence[Operation], remains: Remains) -> list[str]:
    return violations(operations, remains, grace=GRACE)


# What most histories begin with
SIGNUP = _ok(Kind.SIGNUP, 0, 1, password="first", user=ANN)
LOGIN = _ok(Kind.LOGIN, 2, 3, password="first", user=ANN, session=ONE, token="one-0")
LOGIN_TWO = _ok(Kind.LOGIN, 2, 3, password="first", user=ANN, session=TWO, token="two-0")
BEGIN = [SIGNUP, LOGIN]
OF_ONE: dict[str, Any] = {"user": ANN, "session": ONE}
OF_TWO: dict[str, Any] = {"user": ANN, "session": TWO}
CHANGE: dict[str, Any] = {**OF_ONE, "password": "first", "new_password": "second"}
LINK, NEWER_LINK = (uuid.UUID(int=number) for number in (21, 22))
OF_LINK: dict[str, Any] = {"user": ANN, "link": LINK}
OF_NEWER_LINK: dict[str, Any] = {"user": ANN, "link": NEWER_LINK}
BROUGHT = _ok(Kind.BRING_LINK, 4, 5, **OF_LINK)
RESET = _ok(Kind.RESET_PASSWORD, 6, 7, new_password="second", **OF_LINK)
REVOKED = _ok(Kind.REVOKE, 4, 5, **OF_ONE)


def _refresh(start: float, end: float, presented: int, token: str = "") -> Operation:
    text = token or f"one-{presented + 1}"
    return _ok(Kind.REFRESH, start, end, presented=presented, given=presented + 1, token=text, **OF_ONE)


GOOD: dict[str, tuple[list[Operation], Remains]] = {
    "nothing at all": ([], Remains()),
    "signed up, logged in": (BEGIN, _remains(_account(), _session())),
    "a signup in doubt that took effect": (
        [_unknown(Kind.SIGNUP, 0, 1, password="first"), LOGIN],
        _remains(_account(), _session()),
    ),
    "a signup in doubt that took none": ([_unknown(Kind.SIGNUP, 0, 1, password="first")], _remains()),
    "a signup in doubt that took effect after another was refused for nothing": (
        [_unknown(Kind.SIGNUP, 0, 1, password="first"), _refused(Kind.SIGNUP, 2, 3, status=409, password="second")],
        _remains(_account()),
    ),
    "a login in doubt that left a session": (
        [SIGNUP, _unknown(Kind.LOGIN, 2, 3, password="first")],
        _remains(_account(), _session()),
    ),
    "a change in doubt that took effect": (
        [*BEGIN, _unknown(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE)],
        _remains(_account(opened_by="second"), _session()),
    ),
    "a change in doubt that took none": (
        [*BEGIN, _unknown(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE)],
        _remains(_account(opened_by="first"), _session()),
    ),
    "a change in doubt that took effect long after its answer": (
        [
            *BEGIN,
            _unknown(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE),
            _ok(Kind.LOGIN, 6, 7, password="first", user=ANN, session=TWO),
            _refused(Kind.LOGIN, 8, 9, password="first"),
        ],
        _remains(_account(opened_by="second"), _session(), _session(TWO, has_ended=True)),
    ),
    "let in with the old password while it was being changed": (
        [
            *BEGIN,
            _ok(Kind.CHANGE_PASSWORD, 4, 8, **CHANGE),
            _ok(Kind.LOGIN, 7, 9, password="first", user=ANN, session=TWO),
        ],
        _remains(_account(opened_by="second"), _session(), _session(TWO, has_ended=True)),
    ),
    "a change ends the other session": (
        [
            *BEGIN,
            LOGIN_TWO,
            _ok(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE),
            _refused(Kind.WHOAMI, 6, 7, **OF_TWO),
            _ok(Kind.WHOAMI, 6, 7, **OF_ONE),
        ],
        _remains(_account(opened_by="second"), _session(), _session(TWO, has_ended=True)),
    ),
    "asked while the session was being ended": (
        [*BEGIN, _ok(Kind.LOGOUT, 4, 8, **OF_ONE), _ok(Kind.WHOAMI, 7, 9, **OF_ONE)],
        _remains(_account(), _session(has_ended=True)),
    ),
    "a logout in doubt that took effect later": (
        [
            *BEGIN,
            _unknown(Kind.LOGOUT, 4, 5, **OF_ONE),
            _ok(Kind.WHOAMI, 6, 7, **OF_ONE),
            _refused(Kind.WHOAMI, 8, 9, **OF_ONE),
        ],
        _remains(_account(), _session(has_ended=True)),
    ),
    "two refreshes at once are given the same successor": (
        [*BEGIN, _refresh(4, 6, 0), _refresh(5, 7, 0)],
        _remains(_account(), _session(generation=1)),
    ),
    "a refresh whose answer was lost is repeated within the grace": (
        [*BEGIN, _unknown(Kind.REFRESH, 4, 5, presented=0, **OF_ONE), _refresh(6, 7, 0), _refresh(8, 9, 1)],
        _remains(_account(), _session(generation=2)),
    ),
    "an old token ends the session": (
        [
            *BEGIN,
            _refresh(4, 5, 0),
            _refresh(6, 7, 1),
            _refused(Kind.REFRESH, 8, 9, presented=0, **OF_ONE),
            _refused(Kind.WHOAMI, 10, 11, **OF_ONE),
        ],
        _remains(_account(), _session(generation=2, has_ended=True)),
    ),
    "a token whose answer was lost ends the session after the grace": (
        [
            *BEGIN,
            _unknown(Kind.REFRESH, 4, 5, presented=0, **OF_ONE),
            _refused(Kind.REFRESH, 30, 31, presented=0, **OF_ONE),
        ],
        _remains(_account(), _session(generation=1, has_ended=True)),
    ),
    "deleted, and the address signed up again": (
        [
            *BEGIN,
            _ok(Kind.DELETE_ACCOUNT, 4, 5, password="first", **OF_ONE),
            _refused(Kind.LOGIN, 6, 7, password="first"),
            _ok(Kind.SIGNUP, 8, 9, password="second", user=BOB),
        ],
        _remains(_account(BOB, opened_by="second")),
    ),
    "deleted and signed up again at the same time": (
        [
            *BEGIN,
            _ok(Kind.DELETE_ACCOUNT, 4, 9, password="first", **OF_ONE),
            _ok(Kind.SIGNUP, 5, 8, password="second", user=BOB),
        ],
        _remains(_account(BOB, opened_by="second")),
    ),
    "a reset request in doubt that took effect": (
        [SIGNUP, _ok(Kind.REQUEST_RESET, 2, 3), _unknown(Kind.REQUEST_RESET, 4, 5)],
        _remains(_account(), resets=2),
    ),
    "a reset request that a change of password forgot": (
        [
            *BEGIN,
            _ok(Kind.REQUEST_RESET, 2, 3),
            _ok(Kind.CHANGE_PASSWORD, 4, 5, password="first", new_password="second", **OF_ONE),
        ],
        _remains(_account(opened_by="second"), _session(), resets=0),
    ),
    "a reset ends every session and changes the password": (
        [
            *BEGIN,
            BROUGHT,
            RESET,
            _refused(Kind.WHOAMI, 8, 9, **OF_ONE),
            _refused(Kind.LOGIN, 8, 9, password="first"),
            _ok(Kind.LOGIN, 8, 9, password="second", user=ANN, session=TWO),
        ],
        _remains(_account(opened_by="second"), _session(has_ended=True), _session(TWO)),
    ),
    "a reset in doubt that took effect long after its answer": (
        [
            *BEGIN,
            BROUGHT,
            _unknown(Kind.RESET_PASSWORD, 6, 7, new_password="second", **OF_LINK),
            _ok(Kind.LOGIN, 8, 9, password="first", user=ANN, session=TWO),
            _refused(Kind.WHOAMI, 10, 11, **OF_TWO),
            _refused(Kind.RESET_PASSWORD, 10, 11, status=400, new_password="third", **OF_LINK),
        ],
        _remains(_account(opened_by="second"), _session(has_ended=True), _session(TWO, has_ended=True)),
    ),
    "a reset in doubt that took none, and its link works": (
        [
            *BEGIN,
            BROUGHT,
            _unknown(Kind.RESET_PASSWORD, 6, 7, new_password="second", **OF_LINK),
            _ok(Kind.RESET_PASSWORD, 8, 9, new_password="third", **OF_LINK),
        ],
        _remains(_account(opened_by="third"), _session(has_ended=True)),
    ),
    "let in with the old password, and told so, while it was being reset": (
        [*BEGIN, BROUGHT, RESET, _ok(Kind.LOGIN, 6, 8, password="first", user=ANN, session=TWO)],
        _remains(_account(opened_by="second"), _session(has_ended=True), _session(TWO, has_ended=True)),
    ),
    "a password that was reset before it was changed": (
        [
            *BEGIN,
            BROUGHT,
            RESET,
            _ok(Kind.LOGIN, 8, 9, password="second", user=ANN, session=TWO),
            _ok(Kind.CHANGE_PASSWORD, 10, 11, **OF_TWO, password="second", new_password="third"),
        ],
        _remains(_account(opened_by="third"), _session(has_ended=True), _session(TWO)),
    ),
    "a link is replaced by a newer one": (
        [
            *BEGIN,
            BROUGHT,
            _ok(Kind.BRING_LINK, 6, 7, **OF_NEWER_LINK),
            _refused(Kind.RESET_PASSWORD, 8, 9, status=400, new_password="second", **OF_LINK),
            _ok(Kind.RESET_PASSWORD, 10, 11, new_password="third", **OF_NEWER_LINK),
        ],
        _remains(_account(opened_by="third"), _session(has_ended=True)),
    ),
    "a link is replaced by one of which nobody knows": (
        [
            *BEGIN,
            BROUGHT,
            _unknown(Kind.BRING_LINK, 6, 7),
            _refused(Kind.RESET_PASSWORD, 8, 9, status=400, new_password="second", **OF_LINK),
        ],
        _remains(_account(), _session()),
    ),
    "a link is ended by a change of the password": (
        [
            *BEGIN,
            BROUGHT,
            _ok(Kind.CHANGE_PASSWORD, 6, 7, **CHANGE),
            _refused(Kind.RESET_PASSWORD, 8, 9, status=400, new_password="third", **OF_LINK),
        ],
        _remains(_account(opened_by="second"), _session()),
    ),
    "there is no letter to bring": (
        [*BEGIN, _refused(Kind.BRING_LINK, 4, 5, status=0)],
        _remains(_account(), _session()),
    ),
    "a token is revoked, and once more": (
        [*BEGIN, REVOKED, _refused(Kind.WHOAMI, 6, 7, **OF_ONE), _ok(Kind.REVOKE, 8, 9, **OF_ONE)],
        _remains(_account(), _session(has_ended=True)),
    ),
    "a token that was replaced is revoked, and the session goes on": (
        [
            *BEGIN,
            _refresh(4, 5, 0),
            _refresh(6, 7, 1),
            _ok(Kind.REVOKE, 8, 9, **OF_ONE),
            _ok(Kind.WHOAMI, 10, 11, **OF_ONE),
        ],
        _remains(_account(), _session(generation=2)),
    ),
    "a token that was replaced is revoked within the grace": (
        [*BEGIN, _refresh(4, 5, 0), _ok(Kind.REVOKE, 6, 7, **OF_ONE), _refused(Kind.WHOAMI, 8, 9, **OF_ONE)],
        _remains(_account(), _session(generation=1, has_ended=True)),
    ),
    "a revocation in doubt that took effect later": (
        [
            *BEGIN,
            _unknown(Kind.REVOKE, 4, 5, **OF_ONE),
            _ok(Kind.WHOAMI, 6, 7, **OF_ONE),
            _refused(Kind.WHOAMI, 8, 9, **OF_ONE),
        ],
        _remains(_account(), _session(has_ended=True)),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_may_have_happened_is_let_pass(name: str) -> None:
    assert _found(*GOOD[name]) == []


BAD: dict[str, tuple[list[Operation], Remains, str]] = {
    "a signup is lost": ([SIGNUP], _remains(), "an acknowledged signup is lost"),
    "a signup is lost, and seen so before the end": (
        [SIGNUP, _refused(Kind.LOGIN, 2, 3, password="first"), _ok(Kind.SIGNUP, 4, 5, password="second", user=BOB)],
        _remains(_account(BOB, opened_by="second")),
        "refused with the right password",
    ),
    "two accounts of one address": (
        [SIGNUP, _unknown(Kind.SIGNUP, 0, 1, password="second")],
        _remains(_account(), _account(BOB, opened_by="second")),
        "2 accounts have the address",
    ),
    "two signups of one address are acknowledged": (
        [SIGNUP, _ok(Kind.SIGNUP, 0, 1, password="second", user=BOB)],
        _remains(_account(), _account(BOB, opened_by="second")),
        "two accounts at once",
    ),
    "signed up again before the account was deleted": (
        [
            *BEGIN,
            _ok(Kind.SIGNUP, 4, 5, password="second", user=BOB),
            _ok(Kind.DELETE_ACCOUNT, 6, 7, password="first", **OF_ONE),
        ],
        _remains(_account(BOB, opened_by="second")),
        "two accounts at once",
    ),
    "an account out of nothing": (
        [_failed(Kind.SIGNUP, 0, 1, password="first")],
        _remains(_account()),
        "an account that nobody signed up",
    ),
    "an account of an address that nobody named": ([], _remains(_account()), "account of nobody"),
    "refused as taken by nobody": (
        [_refused(Kind.SIGNUP, 0, 1, status=409, password="first"), _ok(Kind.SIGNUP, 2, 3, password="x", user=ANN)],
        _remains(_account(opened_by="x")),
        "nobody has the address",
    ),
    "a change is lost": (
        [*BEGIN, _ok(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE)],
        _remains(_account(opened_by="first"), _session()),
        "an acknowledged change is undone",
    ),
    "a change is lost in favour of one that failed": (
        [
            *BEGIN,
            _ok(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE),
            _failed(Kind.CHANGE_PASSWORD, 6, 7, **{**CHANGE, "password": "second", "new_password": "third"}),
        ],
        _remains(_account(opened_by="third"), _session()),
        "a password that nobody has set",
    ),
    "let in with a password that was changed": (
        [
            *BEGIN,
            _ok(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE),
            _ok(Kind.LOGIN, 6, 7, password="first", user=ANN, session=TWO),
        ],
        _remains(_account(opened_by="second"), _session(), _session(TWO)),
        "let in with a password that was changed before",
    ),
    "let in with a password that was never set": (
        [SIGNUP, _ok(Kind.LOGIN, 2, 3, password="other", user=ANN, session=ONE)],
        _remains(_account(), _session()),
        "let in with a password that nobody has set",
    ),
    "refused with the right password": (
        [*BEGIN, _refused(Kind.LOGIN, 4, 5, password="first")],
        _remains(_account(), _session()),
        "refused with the right password",
    ),
    "a change refused for the right password": (
        [*BEGIN, _refused(Kind.CHANGE_PASSWORD, 4, 5, status=403, **CHANGE)],
        _remains(_account(), _session()),
        "refused with the right password",
    ),
    "a password replaced twice": (
        [
            *BEGIN,
            _ok(Kind.CHANGE_PASSWORD, 4, 6, **CHANGE),
            _ok(Kind.CHANGE_PASSWORD, 4, 6, **{**CHANGE, "new_password": "third"}),
        ],
        _remains(_account(opened_by="third"), _session()),
        "was replaced 2 times",
    ),
    "an account that nobody can open": (BEGIN, _remains(_account(opened_by=""), _session()), "0 passwords"),
    "a deletion is undone": (
        [*BEGIN, _ok(Kind.DELETE_ACCOUNT, 4, 5, password="first", **OF_ONE)],
        _remains(_account()),
        "an acknowledged deletion is undone",
    ),
    "let in to a deleted account": (
        [
            *BEGIN,
            _ok(Kind.DELETE_ACCOUNT, 4, 5, password="first", **OF_ONE),
            _ok(Kind.LOGIN, 6, 7, password="first", user=ANN, session=TWO),
        ],
        _remains(),
        "let in to an account that was deleted before",
    ),
    "asked after the logout": (
        [*BEGIN, _ok(Kind.LOGOUT, 4, 5, **OF_ONE), _ok(Kind.WHOAMI, 6, 7, **OF_ONE)],
        _remains(_account(), _session(has_ended=True)),
        "succeeded after the session had ended",
    ),
    "refreshed after the logout": (
        [*BEGIN, _ok(Kind.LOGOUT, 4, 5, **OF_ONE), _refresh(6, 7, 0)],
        _remains(_account(), _session(generation=1, has_ended=True)),
        "succeeded after the session had ended",
    ),
    "a session that was over lives again": (
        [
            *BEGIN,
            _unknown(Kind.LOGOUT, 4, 5, **OF_ONE),
            _refused(Kind.WHOAMI, 6, 7, **OF_ONE),
            _ok(Kind.WHOAMI, 8, 9, **OF_ONE),
        ],
        _remains(_account(), _session()),
        "succeeded after the session had ended",
    ),
    "another session outlives a change of the password": (
        [
            *BEGIN,
            LOGIN_TWO,
            _ok(Kind.CHANGE_PASSWORD, 4, 5, **CHANGE),
            _ok(Kind.WHOAMI, 6, 7, **OF_TWO),
        ],
        _remains(_account(opened_by="second"), _session(), _session(TWO, has_ended=True)),
        "succeeded after the session had ended",
    ),
    "a session outlives the end of all": (
        [*BEGIN, LOGIN_TWO, _ok(Kind.END_SESSIONS, 4, 5, **OF_ONE), _ok(Kind.WHOAMI, 6, 7, **OF_TWO)],
        _remains(_account(), _session(has_ended=True), _session(TWO, has_ended=True)),
        "succeeded after the session had ended",
    ),
    "an end is undone": (
        [*BEGIN, _ok(Kind.LOGOUT, 4, 5, **OF_ONE)],
        _remains(_account(), _session()),
        "an acknowledged end is undone",
    ),
    "a session is lost": (BEGIN, _remains(_account()), "an acknowledged session is lost"),
    "a session is ended by nobody": (
        [*BEGIN, _refused(Kind.WHOAMI, 4, 5, **OF_ONE)],
        _remains(_account(), _session()),
        "nobody ended the session",
    ),
    "a session has ended by itself": (
        BEGIN,
        _remains(_account(), _session(has_ended=True)),
        "and it has ended",
    ),
    "the session that was kept is ended": (
        [*BEGIN, _ok(Kind.END_OTHER_SESSIONS, 4, 5, **OF_ONE), _refused(Kind.WHOAMI, 6, 7, **OF_ONE)],
        _remains(_account(), _session()),
        "nobody ended the session",
    ),
    "a refresh is lost": (
        [*BEGIN, _refresh(4, 5, 0)],
        _remains(_account(), _session(generation=0)),
        "is at generation 0",
    ),
    "a refresh was done twice": (
        [*BEGIN, _refresh(4, 5, 0)],
        _remains(_account(), _session(generation=2)),
        "is at generation 2",
    ),
    "a generation is skipped": (
        [*BEGIN, replace(_refresh(4, 5, 0), given=2)],
        _remains(_account(), _session(generation=1)),
        "generation 0 was followed by 2",
    ),
    "two successors of one token": (
        [*BEGIN, _refresh(4, 6, 0), _refresh(5, 7, 0, token="another")],
        _remains(_account(), _session(generation=1)),
        "2 tokens of generation 1",
    ),
    "an old token is taken": (
        [*BEGIN, _refresh(4, 5, 0), _refresh(6, 7, 1), _refresh(8, 9, 0)],
        _remains(_account(), _session(generation=2)),
        "an older token was taken after a newer one",
    ),
    "a replaced token is taken after the grace": (
        [*BEGIN, _refresh(4, 5, 0), _refresh(30, 31, 0)],
        _remains(_account(), _session(generation=1)),
        "after the grace",
    ),
    "a repeated refresh within the grace ends the session": (
        [*BEGIN, _refresh(4, 5, 0), _refused(Kind.REFRESH, 6, 7, presented=0, **OF_ONE)],
        _remains(_account(), _session(generation=1, has_ended=True)),
        "nobody ended the session",
    ),
    "a session that nobody was told of": (
        BEGIN,
        _remains(_account(), _session(), _session(TWO)),
        "sessions of",
    ),
    "a login done twice": (
        [SIGNUP, _unknown(Kind.LOGIN, 2, 3, password="first")],
        _remains(_account(), _session(), _session(TWO)),
        "2 sessions of",
    ),
    "a session of somebody else": (
        BEGIN,
        _remains(_account(), replace(_session(), user=EVE)),
        "belongs to somebody else",
    ),
    "a reset request is lost": (
        [SIGNUP, _ok(Kind.REQUEST_RESET, 2, 3)],
        _remains(_account(), resets=0),
        "0 messages to",
    ),
    "a reset request is lost that came behind a change of password": (
        [
            *BEGIN,
            _ok(Kind.CHANGE_PASSWORD, 4, 5, password="first", new_password="second", **OF_ONE),
            _ok(Kind.REQUEST_RESET, 6, 7),
        ],
        _remains(_account(opened_by="second"), _session(), resets=0),
        "0 messages to",
    ),
    "a reset request was done twice": (
        [SIGNUP, _ok(Kind.REQUEST_RESET, 2, 3)],
        _remains(_account(), resets=2),
        "2 messages to",
    ),
    "an internal error": (
        [SIGNUP, replace(_unknown(Kind.LOGIN, 2, 3, password="first"), status=500)],
        _remains(_account()),
        "answered 500",
    ),
    "a session outlives a reset": (
        [*BEGIN, BROUGHT, RESET, _ok(Kind.WHOAMI, 8, 9, **OF_ONE)],
        _remains(_account(opened_by="second"), _session(has_ended=True)),
        "succeeded after the session had ended",
    ),
    "a session outlives a reset, and is seen so at the end": (
        [*BEGIN, BROUGHT, RESET],
        _remains(_account(opened_by="second"), _session()),
        "an acknowledged end is undone",
    ),
    "a reset is lost": (
        [*BEGIN, BROUGHT, RESET],
        _remains(_account(), _session(has_ended=True)),
        "an acknowledged change is undone",
    ),
    "a reset is lost, and nothing opens the account": (
        [*BEGIN, BROUGHT, RESET],
        _remains(_account(opened_by=""), _session(has_ended=True)),
        "an acknowledged password is lost",
    ),
    "let in with the password from before the reset": (
        [*BEGIN, BROUGHT, RESET, _ok(Kind.LOGIN, 8, 9, password="first", user=ANN, session=TWO)],
        _remains(_account(opened_by="second"), _session(has_ended=True), _session(TWO)),
        "let in with a password that was changed before",
    ),
    "refused with the password of the reset": (
        [*BEGIN, BROUGHT, RESET, _refused(Kind.LOGIN, 8, 9, password="second")],
        _remains(_account(opened_by="second"), _session(has_ended=True)),
        "refused with the right password",
    ),
    "refused with a password that was set after a reset": (
        [
            *BEGIN,
            BROUGHT,
            RESET,
            _ok(Kind.LOGIN, 8, 9, password="second", user=ANN, session=TWO),
            _ok(Kind.CHANGE_PASSWORD, 10, 11, **OF_TWO, password="second", new_password="third"),
            _refused(Kind.LOGIN, 12, 13, password="third"),
        ],
        _remains(_account(opened_by="third"), _session(has_ended=True), _session(TWO)),
        "refused with the right password",
    ),
    "a link is used twice": (
        [*BEGIN, BROUGHT, RESET, _ok(Kind.RESET_PASSWORD, 6, 7, new_password="third", **OF_LINK)],
        _remains(_account(opened_by="third"), _session(has_ended=True)),
        "was used 2 times",
    ),
    "a good link is refused": (
        [*BEGIN, BROUGHT, _refused(Kind.RESET_PASSWORD, 6, 7, status=400, new_password="second", **OF_LINK)],
        _remains(_account(), _session()),
        "refused with a link that nothing has ended",
    ),
    "a link is refused for an older one": (
        [
            *BEGIN,
            _ok(Kind.BRING_LINK, 2, 3, **OF_NEWER_LINK),
            BROUGHT,
            _refused(Kind.RESET_PASSWORD, 6, 7, status=400, new_password="second", **OF_LINK),
        ],
        _remains(_account(), _session()),
        "refused with a link that nothing has ended",
    ),
    "anything else is refused as a link is": (
        [*BEGIN, _refused(Kind.WHOAMI, 4, 5, status=400, **OF_ONE)],
        _remains(_account(), _session()),
        "answered 400",
    ),
    "asked after the token was revoked": (
        [*BEGIN, REVOKED, _ok(Kind.WHOAMI, 6, 7, **OF_ONE)],
        _remains(_account(), _session(has_ended=True)),
        "succeeded after the session had ended",
    ),
    "a revocation is undone": (
        [*BEGIN, REVOKED],
        _remains(_account(), _session()),
        "an acknowledged end is undone",
    ),
    "another session ends with the one that was revoked": (
        [*BEGIN, LOGIN_TWO, REVOKED, _refused(Kind.WHOAMI, 6, 7, **OF_TWO)],
        _remains(_account(), _session(has_ended=True), _session(TWO, has_ended=True)),
        "nobody ended the session",
    ),
    "a revocation is refused": (
        [*BEGIN, _refused(Kind.REVOKE, 4, 5, **OF_ONE)],
        _remains(_account(), _session()),
        "a revocation was refused",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_cannot_have_happened_is_told(name: str) -> None:
    operations, remains, expected = BAD[name]
    found = _found(operations, remains)
    assert any(expected in violation for violation in found), found


def test_an_operation_that_is_never_settled_is_in_doubt() -> None:
    record = Record()
    operation = record.invoke(Kind.SIGNUP, address=ADDRESS, password="first")
    assert (operation.outcome, operation.completed) == (Outcome.UNKNOWN, NEVER)
    for remains in (_remains(), _remains(_account())):
        assert _found(record.operations, remains) == []


LIES = {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}


@pytest.mark.parametrize("lies", [False, True])
def test_a_database_that_acknowledges_what_it_has_not_written_is_found_out(*, lies: bool) -> None:
    """The same history on a server that waits for its log and on one that does not: only the second one is caught."""
    settings = make_settings(throttling=AMPLE)
    with own_postgres(**(LIES if lies else {})) as postgres, postgres.database() as url:
        store = open_store(url, DatabaseSettings(timeout=timedelta(seconds=2)))
        upgrade(store.engine)
        postgres.administer("CHECKPOINT")  # the schema is not what is to be lost
        auth = build(settings, store=store)
        auth.keys.ensure()
        record = Record()
        door = Api(WsgiDriver(create_app(auth)), auth, FakeClock())
        users = Users(Service([door], record), seed=1)
        users.accounts = [Account(f"user{number}@example.com") for number in range(20)]
        for number, account in enumerate(users.accounts):
            Service([door], record).signup(door, account, f"sentence number {number}")
        postgres.kill()
        postgres.heal()
        assert eventually(lambda: door.get("/readyz").status == 200, 10)
        users.ask_for_everything()
        operations = record.operations
        found = violations(operations, remains_of(url, operations), grace=GRACE_OF_THE_SERVICE)
        auth.close()
    assert sum(operation.is_ok for operation in operations if operation.kind == Kind.SIGNUP) == 20
    assert any("an acknowledged signup is lost" in violation for violation in found) == lies, found
