"""Whose request it is: the connection's, or what our own proxies say, read from the right."""

from ipaddress import ip_network

import pytest

from core.http.edge.client_address import Network, client_address

NOBODY: tuple[Network, ...] = ()
PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.7", "fd00::/8")))
CLIENT = "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        (CLIENT, None, CLIENT),
        (CLIENT, "", CLIENT),
        (CLIENT, "198.51.100.1", CLIENT),
        (CLIENT, "10.0.0.1", CLIENT),
        ("10.0.0.1", CLIENT, "10.0.0.1"),
        ("127.0.0.1", CLIENT, "127.0.0.1"),
        ("2001:db8::1", CLIENT, "2001:db8::1"),
        ("::ffff:203.0.113.9", None, CLIENT),
        ("2001:0DB8:0:0::0001", None, "2001:db8::1"),
    ],
)
def test_without_trusted_proxies_it_is_the_connection_whatever_is_claimed(
    peer: str, forwarded_for: str | None, expected: str
) -> None:
    assert client_address(peer, forwarded_for, NOBODY) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        pytest.param("10.0.0.1", CLIENT, CLIENT, id="one proxy"),
        pytest.param("192.0.2.7", CLIENT, CLIENT, id="a proxy by its address"),
        pytest.param("fd00::1", "2001:db8::9", "2001:db8::9", id="IPv6"),
        pytest.param("::ffff:10.0.0.1", CLIENT, CLIENT, id="a proxy on a dual-stack socket"),
        pytest.param("10.0.0.1", "::ffff:203.0.113.9", CLIENT, id="a mapped client"),
        pytest.param("10.0.0.1", "::ffff:10.0.0.2", "10.0.0.2", id="a mapped proxy as client"),
        pytest.param("10.0.0.1", f"{CLIENT}, 10.0.0.2", CLIENT, id="two proxies"),
        pytest.param("10.0.0.1", f"{CLIENT},10.0.0.3 ,\t10.0.0.2", CLIENT, id="three proxies, odd spaces"),
        pytest.param("10.0.0.1", f"6.6.6.6, {CLIENT}", CLIENT, id="what the client wrote itself"),
        pytest.param("10.0.0.1", f"10.0.0.9, {CLIENT}", CLIENT, id="the client poses as a proxy"),
        pytest.param("10.0.0.1", f"6.6.6.6, 10.9.9.9, {CLIENT}, 10.0.0.2", CLIENT, id="the client wrote a whole chain"),
        pytest.param("10.0.0.1", f"6.6.6.6,{CLIENT},,10.0.0.2,", CLIENT, id="empty hops"),
        pytest.param("10.0.0.1", f"{CLIENT}:51234", CLIENT, id="a port"),
        pytest.param("10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9", id="IPv6 and a port"),
        pytest.param("10.0.0.1", "[2001:db8::9]", "2001:db8::9", id="IPv6 in brackets"),
        pytest.param("10.0.0.1", "[::ffff:203.0.113.9]:1", CLIENT, id="a mapped client and a port"),
        pytest.param("10.0.0.1", f"6.6.6.6:1, {CLIENT}:2, 10.0.0.2:3", CLIENT, id="proxies with ports"),
        pytest.param("fd00::1", f"{CLIENT}:1, [fd00::2]:3", CLIENT, id="IPv6 proxies with ports"),
        pytest.param("10.0.0.1", f"{CLIENT}:", "10.0.0.1", id="a port that is none"),
        pytest.param("10.0.0.1", f"{CLIENT}:x", "10.0.0.1", id="a port of letters"),
        pytest.param("10.0.0.1", f"{CLIENT}:123456", "10.0.0.1", id="a port of six digits"),
        pytest.param("10.0.0.1", "[2001:db8::9", "10.0.0.1", id="half a bracket"),
        pytest.param("10.0.0.1", "[2001:db8::9]4711", "10.0.0.1", id="no colon behind the bracket"),
        pytest.param("10.0.0.1", "[fe80::1%eth0]:1", "10.0.0.1", id="a zone in brackets"),
        pytest.param("10.0.0.1", "[]:1", "10.0.0.1", id="nothing in brackets"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="a proxy that says nothing"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="a proxy that says the empty string"),
        pytest.param("10.0.0.1", " , ,", "10.0.0.1", id="a proxy that says commas"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", id="proxies all the way"),
        pytest.param("10.0.0.1", "unknown", "10.0.0.1", id="a hop that is no address"),
        pytest.param("10.0.0.1", f"{CLIENT}, unknown", "10.0.0.1", id="nothing is believed behind such a hop"),
        pytest.param("10.0.0.1", f"{CLIENT}, unknown, 10.0.0.2", "10.0.0.2", id="as far as the hops are ours"),
        pytest.param("10.0.0.1", "203.0.113.9 198.51.100.1", "10.0.0.1", id="two addresses in one hop"),
        pytest.param("10.0.0.1", "0313.0.113.9", "10.0.0.1", id="octal"),
        pytest.param("10.0.0.1", "3405803785", "10.0.0.1", id="one number"),
        pytest.param("10.0.0.1", "203.0.113.9/32", "10.0.0.1", id="a network"),
        pytest.param("10.0.0.1", "x\r\nSet-Cookie: a=b", "10.0.0.1", id="a header in it"),
        pytest.param("11.0.0.1", CLIENT, "11.0.0.1", id="a stranger next to our network"),
        pytest.param("192.0.2.8", CLIENT, "192.0.2.8", id="a stranger next to our proxy"),
        pytest.param("unix:", CLIENT, CLIENT, id="a proxy at a Unix socket"),
        pytest.param("unix:", f"6.6.6.6, {CLIENT}, 10.0.0.2", CLIENT, id="two proxies, one of them at a Unix socket"),
        pytest.param("unix:", f"6.6.6.6, {CLIENT}", CLIENT, id="what the client wrote itself, at a Unix socket"),
        pytest.param("unix:", "unknown", "", id="no address at a Unix socket"),
        pytest.param("unix:", None, "", id="nothing said at a Unix socket"),
        pytest.param("", CLIENT, "", id="a peer that has gone"),
        pytest.param("testclient", CLIENT, "", id="a peer that is no address"),
    ],
)
def test_a_hop_is_believed_only_behind_our_own_proxies(peer: str, forwarded_for: str | None, expected: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == expected


def test_a_long_header_is_read_quickly_and_from_the_right() -> None:
    assert client_address("10.0.0.1", "6.6.6.6," * 100_000 + CLIENT, PROXIES) == CLIENT


def test_every_hop_may_be_a_proxy_where_everything_is_trusted() -> None:
    everything = tuple(map(ip_network, ("0.0.0.0/0", "::/0")))
    assert client_address("10.0.0.1", f"{CLIENT}, 2001:db8::1, 198.51.100.1", everything) == CLIENT
