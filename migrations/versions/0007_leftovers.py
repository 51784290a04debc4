"""What deleted accounts and the end of very many sessions leave to the housekeeping, and indexes for it.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from core.storage.schema import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("deleted_at", UtcDateTime(), nullable=True))
    op.add_column("users", sa.Column("erased_until", sa.Uuid(), nullable=True))
    op.add_column("users", sa.Column("sessions_ended_at", UtcDateTime(), nullable=True))
    op.add_column("users", sa.Column("sessions_end_reason", sa.String(32), nullable=True))
    op.add_column("users", sa.Column("kept_session_id", sa.Uuid(), nullable=True))
    _create_partial("ix_users_deleted_at", "users", ["deleted_at"], where="deleted_at IS NOT NULL")
    _create_partial("ix_users_sessions_ended_at", "users", ["sessions_ended_at"], where="sessions_ended_at IS NOT NULL")
    _create_partial("ix_sessions_live", "sessions", ["user_id", "last_used_at"], where="ended_at IS NULL")
    _create_partial("ix_sessions_ended_at", "sessions", ["ended_at"], where="ended_at IS NOT NULL")
    op.create_index("ix_sessions_user_id_id", "sessions", ["user_id", "id"])


def downgrade() -> None:
    for name in ("ix_sessions_user_id_id", "ix_sessions_ended_at", "ix_sessions_live"):
        op.drop_index(name, "sessions")
    for name in ("ix_users_sessions_ended_at", "ix_users_deleted_at"):
        op.drop_index(name, "users")
    for name in ("kept_session_id", "sessions_end_reason", "sessions_ended_at", "erased_until", "deleted_at"):
        op.drop_column("users", name)


def _create_partial(name: str, table: str, columns: list[str], *, where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
