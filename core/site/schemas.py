"""Response models of the site itself."""

from typing import Literal, Self

from core.contract.fields import ResponseModel


class Health(ResponseModel):
    """A sign of life."""

    status: Literal["ok"]

    @classmethod
    def ok(cls) -> Self:
        """Show that all is well."""
        return cls(status="ok")
