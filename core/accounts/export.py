"""The export of an account: what each capability stores about a user."""

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
"""What reads a part of an export, by its member."""


class Exporter:
    """Gives users what is stored about them."""

    def __init__(self, *, store: Store, clock: Clock, parts: Parts) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts

    @retried
    def export(self, principal: Principal, origin: Origin) -> Export:
        """Everything that is stored about the user, except events beyond the newest `MOST_EVENTS`.

        It is read outside a transaction, in which nobody else could write to SQLite. Recorded is it last, and only of
        an account that is still there: nothing is given out without its row, and nothing that was read is missing
        because the account was being deleted meanwhile.

        Raises:
            InvalidToken: the account went away meanwhile.

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
                raise InvalidToken  # the account went away since the token was checked
            work.audit.add(exported)
            work.commit()
        return user, exported
