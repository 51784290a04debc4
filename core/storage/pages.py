"""Pages of many rows, each its own short read, by the id of the last row before."""

import uuid
from typing import Any

from sqlalchemy import Column, Select


def page_of(rows: Select[Any], key: Column[Any], after: uuid.UUID | None, limit: int | None) -> Select[Any]:
    """Return up to ``limit`` of these rows in the order of their key, behind one of them."""
    page = rows.order_by(key).limit(limit)
    return page if after is None else page.where(key > after)
