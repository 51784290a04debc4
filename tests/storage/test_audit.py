from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from core.audit.model import AuditEvent, EventKind
from core.clock import new_id
from core.sql_store import SqlStore
from tests.support.values import NOW, audit_event, events_in


def _add(store: SqlStore, *events: AuditEvent) -> None:
    with store.begin() as work:
        for event in events:
            work.audit.add(event)
        work.commit()


@pytest.mark.parametrize("kind", list(EventKind))
def test_an_event_of_every_kind_is_kept(store: SqlStore, kind: EventKind) -> None:
    event = audit_event(kind)
    _add(store, event)
    (found,) = events_in(store)
    assert found == event
    assert found.at.tzinfo is UTC
    assert found.at == NOW


def test_an_event_needs_neither_a_user_nor_a_session(store: SqlStore) -> None:
    event = audit_event(user_id=None, session_id=None, ip="", request_id="")
    _add(store, event)
    assert events_in(store) == [event]


def test_an_event_may_be_about_what_is_gone(store: SqlStore) -> None:
    event = audit_event(user_id=uuid.uuid4(), session_id=uuid.uuid4())
    _add(store, event)
    assert events_in(store) == [event]


def test_the_events_of_a_user_come_oldest_first_and_no_others(store: SqlStore) -> None:
    ann, bob = uuid.uuid4(), uuid.uuid4()
    events = [
        audit_event(id=new_id(NOW + timedelta(seconds=second)), user_id=user_id)
        for second, user_id in enumerate((ann, bob, ann, None, ann))
    ]
    _add(store, *reversed(events))
    with store.reading() as read:
        assert read.audit.of(ann) == [event for event in events if event.user_id == ann]
        assert read.audit.of(ann, limit=2) == [events[0], events[2]]
        assert read.audit.of(ann, after=events[0].id, limit=2) == [events[2], events[4]]
        assert read.audit.of(uuid.uuid4()) == []


def _forgotten(store: SqlStore, *events: AuditEvent) -> dict[uuid.UUID, tuple[str, str]]:
    """The address and the request that are left in these events when the user of the first one has left."""
    _add(store, *events)
    with store.begin() as work:
        assert events[0].user_id is not None
        work.audit.forget_addresses(events[0].user_id, after=None, limit=1000)
        work.commit()
    return {event.id: (event.ip, event.request_id) for event in events_in(store)}


def test_network_addresses_and_requests_of_a_user_are_forgotten_and_nothing_else(store: SqlStore) -> None:
    mine, other = audit_event(), audit_event()
    _forgotten(store, mine, other)
    found = {event.id: event for event in events_in(store)}
    assert found == {mine.id: replace(mine, ip="", request_id=""), other.id: other}


def test_the_request_of_a_deletion_is_kept_without_its_address(store: SqlStore) -> None:
    deleted = audit_event(EventKind.ACCOUNT_DELETED)
    assert _forgotten(store, deleted) == {deleted.id: ("", "a-request")}


def _throttled(seconds: float, **changes: Any) -> AuditEvent:
    """What the throttle put down so long before now; it knows no user."""
    at = NOW - timedelta(seconds=seconds)
    return audit_event(EventKind.THROTTLED, id=new_id(at), at=at, user_id=None, session_id=None, **changes)


@pytest.mark.parametrize("seconds", [0, 0.3, 25])
def test_what_the_throttle_put_down_in_a_request_of_the_user_loses_its_address(store: SqlStore, seconds: float) -> None:
    mine, throttled = audit_event(EventKind.LOGIN_FAILED), _throttled(seconds)
    assert _forgotten(store, mine, throttled) == {mine.id: ("", ""), throttled.id: ("", "a-request")}


def test_who_deletes_an_account_of_their_own_erases_no_address_of_others(store: SqlStore) -> None:
    """A client chooses its request ids, and may choose those of somebody else's requests."""
    mine = audit_event(EventKind.LOGIN_FAILED)
    others = [
        _throttled(1, ip="2001:db8::8"),
        _throttled(1, request_id="another"),
        _throttled(3600),
        _throttled(-3600),
        audit_event(EventKind.SIGNUP_REPEATED, user_id=None),
        audit_event(EventKind.LOGIN_FAILED, user_id=None),
        audit_event(EventKind.THROTTLED),
    ]
    left = _forgotten(store, mine, *others)
    assert {event.id: left[event.id] for event in others} == {
        event.id: (event.ip, event.request_id) for event in others
    }


def test_what_was_done_here_on_the_machine_is_no_request_that_could_be_another_ones(store: SqlStore) -> None:
    mine = audit_event(ip="", request_id="")
    throttled = _throttled(1, request_id="")
    assert _forgotten(store, mine, throttled)[throttled.id] == (throttled.ip, "")


def test_the_throttle_is_found_in_every_one_of_many_visits(store: SqlStore) -> None:
    user_id, visits = uuid.uuid4(), [NOW - timedelta(hours=hours) for hours in range(250)]
    events = [
        audit_event(kind, id=new_id(at), at=at, user_id=known, request_id=str(at))
        for at in visits
        for kind, known in ((EventKind.THROTTLED, None), (EventKind.LOGIN_FAILED, user_id))
    ]
    left = _forgotten(store, *reversed(events))
    assert {ip for ip, _ in left.values()} == {""}


def test_equal_things_that_happen_twice_are_two_events(store: SqlStore) -> None:
    user_id = uuid.uuid4()
    _add(store, *(audit_event(user_id=user_id, session_id=None) for _ in range(3)))
    assert len(events_in(store)) == 3


def test_an_event_may_be_about_nothing_in_particular(store: SqlStore) -> None:
    event = audit_event(subject=None)
    _add(store, event)
    assert events_in(store) == [event]
