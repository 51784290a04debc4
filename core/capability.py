"""What a capability adds to the service, as one value. `core.capabilities` lists them."""

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
"""Delete rows of a table that are no longer needed at a time, up to a limit; return their number."""
Erasure = Callable[[UnitOfWork, uuid.UUID, int], int]
"""Delete rows of a deleted account, up to a limit; return their number."""
ExportPart = Callable[[UnitOfWork, uuid.UUID, uuid.UUID | None, int], Sequence[tuple[uuid.UUID, ResponseModel]]]
"""Return a page of what a capability stores about a user: up to so many rows behind an id, in the order of their ids.

Each comes with its id, as the export of the account shows it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One folder of the core, or a further one that an embedding application brings."""

    name: str
    operations: tuple[Operation, ...] = ()
    problems: ProblemForms = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Chapters of the documentation, each with its text."""
    purges: Mapping[str, Purge] = field(default_factory=dict)
    """By the name of the table."""
    erasures: Mapping[str, Erasure] = field(default_factory=dict)
    """By the name of the table. Without one, the rows of an account go all at once with the account itself."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Tables without a purge, each with the reason."""
    export: Mapping[str, ExportPart] = field(default_factory=dict)
    """By the member of the export."""
    letters: tuple[str, ...] = ()
    """The kinds of its messages; each has a template ``letters/KIND.jinja``."""
    texts: Path | None = None
    """Folder of its templates and catalogues, unless they are in `core.mail.texts`."""
    ports: Mapping[Port[Any], Callable[[Any], Any]] = field(default_factory=dict)
    """Makers of its ports, each from a connection; only for ports without a property of the unit of work."""
