"""The subject of an audit event that is not about a user.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_events", sa.Column("subject", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("audit_events", "subject")
