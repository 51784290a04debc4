"""When a link was used, and when it is looked whether anybody uses an account that was never verified.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from core.storage.schema import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("email_tokens", sa.Column("used_at", UtcDateTime(), nullable=True))
    op.add_column("users", sa.Column("review_at", UtcDateTime(), nullable=True))
    is_unverified = sa.column("email_verified", sa.Boolean) == sa.false()
    op.create_index(
        "ix_users_unverified",
        "users",
        ["review_at"],
        postgresql_where=is_unverified,
        sqlite_where=is_unverified,
    )


def downgrade() -> None:
    op.drop_index("ix_users_unverified", "users")
    op.drop_column("users", "review_at")
    op.drop_column("email_tokens", "used_at")
