"""Alembic's environment: one transaction on a connection that the caller has opened and locked."""

from alembic import context
from sqlalchemy import Connection

from core.sql_store import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
