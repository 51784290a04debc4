"""The export of an account: the data that each capability stores about a user."""

import uuid
from collections.abc import Callable, Mapping, Sequence

from core.accounts.model import MOST_EVENTS, Export
from core.audit.model import AuditEvent, EventKind, event
from core.clock import Clock
from core.contract.fields import ResponseModel
from core.errors import InvalidToken
from core.origin import Origin
from core.sessions.model import Principal
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.users.model import User

Parts = Mapping[str, Callable[[UnitOfWork, uuid.UUID], Sequence[ResponseModel]]]
"""By the member of the export: a function that reads its part."""


class Exporter:
    """Exports the data of a user."""

    def __init__(self, *, store: Store, clock: Clock, parts: Parts) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts

    @retried
    def export(self, principal: Principal, origin: Origin) -> Export:
        """Return all stored data of the user, except events older than the newest `MOST_EVENTS`.

        The data is read outside a transaction, which would block all other writers of SQLite. The export is recorded
        last, and only if the account still exists: no export is returned without its audit event, and none is partial
        because the account was deleted meanwhile.

        Raises:
            InvalidToken: the account was deleted meanwhile.

        """
        user_id = principal.user.id
        with self._store.reading() as read:
            parts = {member: part(read, user_id) for member, part in self._parts.items()}
            events = read.audit.of(user_id, limit=MOST_EVENTS + 1)
        user, exported = self._record(user_id, origin)
        return Export(
            at=exported.at,
            user=user,
            parts=parts,
            events=[*events[-MOST_EVENTS:], exported],
            has_older_events=len(events) > MOST_EVENTS,
        )

    @retried
    def _record(self, user_id: uuid.UUID, origin: Origin) -> tuple[User, AuditEvent]:
        now = self._clock.now()
        exported = event(EventKind.ACCOUNT_EXPORTED, at=now, origin=origin, user_id=user_id)
        with self._store.begin() as work:
            user = work.users.lock(user_id)
            if user is None:
                raise InvalidToken  # the account was deleted since the token was checked
            work.audit.add(exported)
            work.commit()
        return user, exported
