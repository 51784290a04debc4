"""The whole contract: every operation, the HTTP form of every error, the chapters of the documentation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from core.contract.operation import Operation
from core.contract.problem import ProblemForms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contract:
    """The operations and errors of both doors."""

    operations: Mapping[str, Operation]
    """By id."""
    problems: ProblemForms
    tags: Mapping[str, str]
    """The chapters of the documentation, each with its text."""

    @classmethod
    def of(
        cls, operations: Iterable[Operation], problems: Iterable[ProblemForms], tags: Iterable[Mapping[str, str]]
    ) -> Self:
        """Put a contract together.

        Raises:
            ValueError: two operations have the same id, or the same method and path.

        """
        defined = tuple(operations)
        by_id = {operation.id: operation for operation in defined}
        by_place = {(operation.method, operation.path) for operation in defined}
        if not len(by_id) == len(by_place) == len(defined):
            raise ValueError("two operations have one id, or one method and path")
        return cls(
            operations=by_id,
            problems={error: form for forms in problems for error, form in forms.items()},
            tags={name: text for named in tags for name, text in named.items()},
        )
