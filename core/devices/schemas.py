"""The token of a device in requests and answers, and devices in the export of an account."""

import uuid
from datetime import datetime
from typing import Any, Self

from pydantic import Field

from core.contract.fields import EXAMPLE_TIME, ResponseModel
from core.devices.model import Device

EXAMPLE_DEVICE_TOKEN = "twd_AZejwm8efTqbUgxqH06NIbJvQ2yR8kYw5mTnXcVbLpE"  # noqa: S105 - an example
MAX_DEVICE_TOKEN = 100


def device_token_field() -> Any:
    """Return the field of a request that may bring the token of a device."""
    return Field(
        None,
        max_length=MAX_DEVICE_TOKEN,
        description="The `device_token` of an earlier login on this device: wrong passwords from elsewhere then never "
        "make it wait. One that is worth nothing is ignored.",
        examples=[EXAMPLE_DEVICE_TOKEN],
    )


def given_device_token_field(description: str) -> Any:
    """Return the field of an answer that gives the token of a device."""
    return Field(None, description=description, examples=[EXAMPLE_DEVICE_TOKEN])


class ExportedDevice(ResponseModel):
    """A device on which the user has logged in."""

    id: uuid.UUID
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    last_used_at: datetime = Field(examples=[EXAMPLE_TIME])
    expires_at: datetime = Field(examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, device: Device) -> Self:
        """Show a device."""
        return cls(
            id=device.id,
            created_at=device.created_at,
            last_used_at=device.last_used_at,
            expires_at=device.expires_at,
        )
