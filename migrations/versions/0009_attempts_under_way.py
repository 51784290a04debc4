"""The attempts under way in each counter of the throttle.

Revision ID: 0009
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("throttle_counters", sa.Column("pending", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("throttle_counters", "pending")
