"""The attempts under way in each counter of the throttle, and the devices of accounts.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from core.storage.schema import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("throttle_counters", sa.Column("pending", sa.JSON(), nullable=True))
    op.create_table(
        "devices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_devices_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
    )
    op.create_index("ix_devices_user_id", "devices", ["user_id"])
    op.create_index("ix_devices_expires_at", "devices", ["expires_at"])


def downgrade() -> None:
    op.drop_table("devices")
    op.drop_column("throttle_counters", "pending")
