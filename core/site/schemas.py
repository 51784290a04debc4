"""Response models of the site itself."""

from typing import Literal

from core.contract.fields import ResponseModel


class Health(ResponseModel):
    """A sign of life."""

    status: Literal["ok"] = "ok"
