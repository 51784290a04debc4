from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from core.audit import AuditEvent, EventKind
from core.clock import new_id
from core.store import Store
from tests.repositories.values import NOW, audit_event, events_in


def _add(store: Store, *events: AuditEvent) -> None:
    with store.begin() as work:
        for event in events:
            work.audit.add(event)
        work.commit()


@pytest.mark.parametrize("kind", list(EventKind))
def test_an_event_of_every_kind_is_kept(store: Store, kind: EventKind) -> None:
    event = audit_event(kind)
    _add(store, event)
    (found,) = events_in(store)
    assert found == event
    assert found.at.tzinfo is UTC
    assert found.at == NOW


def test_an_event_needs_neither_a_user_nor_a_session(store: Store) -> None:
    event = audit_event(user_id=None, session_id=None, ip="", request_id="")
    _add(store, event)
    assert events_in(store) == [event]


def test_an_event_may_be_about_what_is_gone(store: Store) -> None:
    event = audit_event(user_id=uuid.uuid4(), session_id=uuid.uuid4())
    _add(store, event)
    assert events_in(store) == [event]


def test_the_events_of_a_user_come_oldest_first_and_no_others(store: Store) -> None:
    ann, bob = uuid.uuid4(), uuid.uuid4()
    events = [
        audit_event(id=new_id(NOW + timedelta(seconds=second)), user_id=user_id)
        for second, user_id in enumerate((ann, bob, ann, None, ann))
    ]
    _add(store, *reversed(events))
    with store.reading() as read:
        assert read.audit.of(ann) == [event for event in events if event.user_id == ann]
        assert read.audit.of(uuid.uuid4()) == []


def test_network_addresses_of_a_user_are_forgotten_and_nothing_else(store: Store) -> None:
    mine, other = audit_event(), audit_event()
    _add(store, mine, other)
    with store.begin() as work:
        assert mine.user_id is not None
        work.audit.forget_addresses(mine.user_id)
        work.commit()
    found = {event.id: event for event in events_in(store)}
    assert found == {mine.id: replace(mine, ip=""), other.id: other}


def test_equal_things_that_happen_twice_are_two_events(store: Store) -> None:
    user_id = uuid.uuid4()
    _add(store, *(audit_event(user_id=user_id, session_id=None) for _ in range(3)))
    assert len(events_in(store)) == 3


def test_an_event_may_be_about_nothing_in_particular(store: Store) -> None:
    event = audit_event(subject=None)
    _add(store, event)
    assert events_in(store) == [event]
