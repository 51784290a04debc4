"""What a capability adds to the whole, as one value. `core.capabilities` lists them."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from core.contract.fields import ResponseModel
from core.contract.operation import Operation
from core.contract.problem import ProblemForms
from core.settings.whole import Settings
from core.store import Port, UnitOfWork

Purge = Callable[[UnitOfWork, datetime, Settings, int], int]
"""Delete rows of a table that are over now, so many at most; how many there were."""
ExportPart = Callable[[UnitOfWork, uuid.UUID], Sequence[ResponseModel]]
"""Everything that a capability stores about a user, as the export of the account shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One folder of the core, or a further one that an embedding application brings."""

    name: str
    operations: tuple[Operation, ...] = ()
    problems: ProblemForms = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Chapters of the documentation, each with its text."""
    purges: Mapping[str, Purge] = field(default_factory=dict)
    """By the table that they keep small."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Tables that nothing is purged from, each with the reason."""
    export: Mapping[str, ExportPart] = field(default_factory=dict)
    """By the member of the export."""
    letters: tuple[str, ...] = ()
    """The kinds of its messages; each has a template ``letters/KIND.jinja``."""
    texts: Path | None = None
    """Folder of its templates and catalogues, where they do not stand in `core.mail.texts`."""
    ports: Mapping[Port[Any], Callable[[Any], Any]] = field(default_factory=dict)
    """How a port is made from a connection, where a unit of work has no property for it."""
