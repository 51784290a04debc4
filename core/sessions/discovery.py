"""What a proxy is told of the caller that it asks for."""

from http import HTTPStatus
from urllib.parse import quote

from core.contract.answer import Answer
from core.sessions.model import Caller

# All that a field can hold, except the comma that is between roles, and the percent sign of escapes.
_SAFE = "!#$&'()*+-./:;<=>?@[]^_`{|}~"


def identity(caller: Caller) -> Answer:
    """Say who calls, in fields of which none is ever left out.

    A proxy that copies a field which is not there leaves its caller's own in place: `X-User-Roles: admin`.
    """
    principal = caller.principal
    fields = {
        "X-User-Id": str(principal.user.id) if principal else "",
        "X-User-Roles": ",".join(_field(role) for role in principal.user.roles) if principal else "",
        "X-Session-Id": str(principal.session_id) if principal else "",
        "X-Client-Id": _field(caller.client_id),
    }
    return Answer(HTTPStatus.OK, tuple(fields.items()))


def _field(text: str) -> str:
    """A text as a field can hold it; what it cannot hold is percent-encoded."""
    return quote(text, safe=_SAFE)
