"""What a database can tell about its tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Inspector, inspect

VERSION_TABLE = "alembic_version"


def described(engine: Engine) -> dict[str, Any]:
    """Describe every table: columns, keys, constraints and indexes, each with its name."""
    inspector: Inspector = inspect(engine)
    return {
        name: {
            "columns": [
                {**column, "type": column["type"].compile(engine.dialect)} for column in inspector.get_columns(name)
            ],
            "primary key": inspector.get_pk_constraint(name),
            "foreign keys": inspector.get_foreign_keys(name),
            "unique": inspector.get_unique_constraints(name),
            "checks": inspector.get_check_constraints(name),
            "indexes": [
                # The condition of a partial index is an expression, of which two never compare equal.
                {
                    **index,
                    "dialect_options": {key: str(option) for key, option in index.get("dialect_options", {}).items()},
                }
                for index in sorted(inspector.get_indexes(name), key=lambda index: str(index["name"]))
            ],
        }
        for name in inspector.get_table_names()
        if name != VERSION_TABLE
    }
