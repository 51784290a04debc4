"""How a client says who it is (RFC 6749 section 2.3): by HTTP Basic or in the form, and never by both."""

from typing import TypeVar

from core.oauth.errors import InvalidRequest
from core.oauth.model import BearerToken, Credentials

Proof = TypeVar("Proof", Credentials, Credentials | BearerToken)


def proof_of(header: Proof | None, client_id: str | None, client_secret: str | None) -> Proof | Credentials | None:
    """Return what proves who asks, from the Authorization header or from the form; None where nobody is named.

    Raises:
        InvalidRequest: there are two, or a secret without an id. A server that took one of them could be made to take
            another one than a proxy in front has checked.

    """
    if header is None and client_id is not None:
        return Credentials(client_id=client_id, secret=client_secret or "")
    is_same = client_id is None or (isinstance(header, Credentials) and header.client_id == client_id)
    if client_secret is not None or not is_same:
        raise InvalidRequest("A client authenticates in one way: by the Authorization header, or in the form.")
    return header
