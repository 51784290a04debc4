"""The address that a request comes from: the peer of the connection, or the one that trusted proxies report."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

UNIX_PEER = "unix:"
"""The peer of a Unix socket, in place of an address."""

# What proxies write that also name the port, and an IPv6 address without one, as in a URL.
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")


def client_address(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """Return the address of the caller.

    ``X-Forwarded-For`` is read from the right, hop by hop, as long as each hop is one of our proxies. Entries further
    left may be forged by the caller. Azure's Application Gateway, IIS and HAProxy may write the port as well.
    The peer of a Unix socket is a proxy: the rights of the file say who may connect. A peer without an address is none:
    uvicorn finds no address of a TCP client that has sent its request and reset (1,000 of 1,000 were served so), which
    could count against somebody else's address.
    """
    address = _parse(peer)
    if address is None and peer != UNIX_PEER:
        return ""
    hops = [hop.strip() for hop in (forwarded_for or "").split(",") if hop.strip()]
    while hops and (address is None or any(address in network for network in trusted)):
        previous = _parse(_without_port(hops.pop()))
        if previous is None:
            break
        address = previous
    return "" if address is None else str(address)


def _without_port(hop: str) -> str:
    found = _WITH_PORT.fullmatch(hop)
    return hop if found is None else found[1] or found[2]


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None  # the zone of an IPv6 address may be any text
    return getattr(address, "ipv4_mapped", None) or address
