"""Registered clients and the feed of revocations.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from core.storage.schema import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_clients"),
    )
    op.create_table(
        "client_secrets",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name="pk_client_secrets"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name="fk_client_secrets_client_id", ondelete="CASCADE"),
    )
    op.create_index("ix_client_secrets_client_id", "client_secrets", ["client_id"])
    op.create_table(
        "revocations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value_hash", sa.String(43), nullable=False),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revocations"),
        sa.UniqueConstraint("number", name="uq_revocations_number"),
    )
    op.create_index("ix_revocations_value_hash", "revocations", ["value_hash"])
    op.create_index("ix_revocations_expires_at", "revocations", ["expires_at"])
    feed = op.create_table(
        "revocation_feed",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revocation_feed"),
    )
    op.bulk_insert(feed, [{"id": 1, "head": 0}])


def downgrade() -> None:
    op.drop_table("revocation_feed")
    op.drop_table("revocations")
    op.drop_table("client_secrets")
    op.drop_table("clients")
