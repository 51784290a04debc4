from __future__ import annotations

import uuid
from datetime import UTC

import pytest

from core.audit import AuditEvent, EventKind
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


def test_equal_things_that_happen_twice_are_two_events(store: Store) -> None:
    user_id = uuid.uuid4()
    _add(store, *(audit_event(user_id=user_id, session_id=None) for _ in range(3)))
    assert len(events_in(store)) == 3
