"""What a session was asked to be good for, how and when it was proved, and the audiences of clients.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from core.storage.schema import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("scopes", sa.JSON(), nullable=True))
    op.add_column("sessions", sa.Column("audience", sa.String(255), nullable=True))
    op.add_column("sessions", sa.Column("auth_time", UtcDateTime(), nullable=True))
    op.add_column("sessions", sa.Column("amr", sa.JSON(), nullable=True))
    op.add_column("clients", sa.Column("audiences", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("clients", "audiences")
    for name in ("amr", "auth_time", "audience", "scopes"):
        op.drop_column("sessions", name)
