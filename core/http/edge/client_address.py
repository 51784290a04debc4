"""The address that a request comes from: the peer of the connection, or the one that trusted proxies report."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def client_address(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """Return the address of the caller.

    ``X-Forwarded-For`` is read from the right, hop by hop, as long as each hop is one of our proxies. Entries further
    left may be forged by the caller.
    """
    address = _parse(peer)
    if address is None:
        return ""
    hops = [hop.strip() for hop in (forwarded_for or "").split(",") if hop.strip()]
    while hops and any(address in network for network in trusted):
        previous = _parse(hops.pop())
        if previous is None:
            break
        address = previous
    return str(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None  # the zone of an IPv6 address may be any text
    return getattr(address, "ipv4_mapped", None) or address
