"""What mail adds to the service."""

import uuid
from datetime import datetime, timedelta

from core.capability import Capability
from core.mail.model import MessageKind
from core.mail.schemas import ExportedLink, ExportedMessage
from core.settings.whole import Settings
from core.store import UnitOfWork

FAILED_RETENTION = timedelta(days=30)
"""How long a message that was given up is kept, so that the operator can retry it."""


def purge_messages(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
    """Delete the records of messages that were sent, or given up long ago."""
    return work.outbox.purge(
        sent_before=now - settings.mail.mail_retention, dead_before=now - FAILED_RETENTION, limit=limit
    )


def purge_one_time_tokens(work: UnitOfWork, now: datetime, _settings: Settings, limit: int) -> int:
    """Delete expired tokens of links."""
    return work.one_time_tokens.purge(now=now, limit=limit)


def erase_messages(work: UnitOfWork, user_id: uuid.UUID, limit: int) -> int:
    """Delete messages to a deleted account."""
    return work.outbox.erase(user_id, limit=limit)


def erase_one_time_tokens(work: UnitOfWork, user_id: uuid.UUID, limit: int) -> int:
    """Delete tokens of links to a deleted account."""
    return work.one_time_tokens.erase(user_id, limit=limit)


def export_messages(
    read: UnitOfWork, user_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[tuple[uuid.UUID, ExportedMessage]]:
    """Export messages to a user."""
    page = read.outbox.of(user_id, after=after, limit=limit)
    return [(message.id, ExportedMessage.of(message)) for message in page]


def export_links(
    read: UnitOfWork, user_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[tuple[uuid.UUID, ExportedLink]]:
    """Export links that were sent to a user."""
    page = read.one_time_tokens.of(user_id, after=after, limit=limit)
    return [(token.id, ExportedLink.of(token)) for token in page]


MAIL = Capability(
    name="mail",
    letters=tuple(MessageKind),
    purges={"outbox": purge_messages, "email_tokens": purge_one_time_tokens},
    erasures={"outbox": erase_messages, "email_tokens": erase_one_time_tokens},
    export={"messages": export_messages, "links": export_links},
)
