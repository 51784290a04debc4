"""When a link was used: it may be followed a second time, and a replaced or revoked one may not.

Revision ID: 0008
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from core.storage.schema import UtcDateTime

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("email_tokens", sa.Column("used_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("email_tokens", "used_at")
