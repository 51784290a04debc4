"""URLs of databases: as libpq reads them, and as an operator is told of them."""

import re
from pathlib import Path

from sqlalchemy import URL, make_url

_PARTS = re.compile(r"(?P<before>[^/]*//(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)(?P<after>.*)")
_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]+))?")
PORT = "5432"


def read_url(text: str) -> URL:
    """Read a URL. Of several hosts with ports, which libpq takes in this place, SQLAlchemy wants two lists."""
    parts = _PARTS.fullmatch(text)
    if parts is None or "," not in parts["hosts"]:
        return make_url(text)
    found = [match for host in parts["hosts"].split(",") if (match := _HOST.fullmatch(host))]
    hosts = ",".join(match["host"].strip("[]") for match in found)
    ports = ",".join(match["port"] or PORT for match in found)
    return make_url(parts["before"] + parts["after"]).update_query_dict({"host": hosts, "port": ports})


def place_of(text: str) -> str:
    """Return where a database is, without user and password: its file, or its name, host and port."""
    url = read_url(text)
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or ":memory:").absolute())
    hosts = _texts(url, "host") or [url.host or "the local socket"]
    ports = _texts(url, "port") or [str(url.port or PORT)]
    if len(ports) < len(hosts):
        ports *= len(hosts)
    servers = ", ".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
    return f"{url.database or url.username or 'the default'} at {servers}"


def _texts(url: URL, name: str) -> list[str]:
    found = url.query.get(name, ())
    return [text for text in (found.split(",") if isinstance(found, str) else found) if text]
