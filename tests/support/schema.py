"""What a database can tell about its tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Inspector, inspect

VERSION_TABLE = "alembic_version"


def _indexes(inspector: Inspector, table: str) -> list[dict[str, Any]]:
    # The condition of a partial index as a text: it is an expression, which compares by identity.
    return [
        {**index, "dialect_options": {name: str(value) for name, value in index.get("dialect_options", {}).items()}}
        for index in inspector.get_indexes(table)
    ]


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
            "indexes": sorted(_indexes(inspector, name), key=lambda index: str(index["name"])),
        }
        for name in inspector.get_table_names()
        if name != VERSION_TABLE
    }
