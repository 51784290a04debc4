"""Variables that look like settings, and are put there by platforms that tell a container of its neighbours.

Kubernetes tells each pod of every Service: one named `auth` is AUTH_SERVICE_HOST, AUTH_PORT and more, one named
`auth-web` AUTH_WEB_SERVICE_HOST. Links of Docker do the same, from where Kubernetes has it.
"""

import re

_NEIGHBOUR = r"AUTH_([A-Z0-9_]+_)?"
_BY_NAME = re.compile(
    rf"{_NEIGHBOUR}(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
    "|AUTH_ENV_[A-Z0-9_]+"
)
# Names that somebody may take for a setting, so the value decides: AUTH_PORT=8000 is a mistake.
_BY_VALUE = re.compile(rf"{_NEIGHBOUR}(PORT=(tcp|udp|sctp)://.*|NAME=/.*)")


def is_of_a_neighbour(name: str, value: str) -> bool:
    """Whether a variable tells of a Service or a container whose name begins with `auth`."""
    return bool(_BY_NAME.fullmatch(name) or _BY_VALUE.fullmatch(f"{name}={value}"))
