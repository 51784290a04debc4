"""``twinauth serve``: one front door in this process, or several as children of it."""

import os
import socket
from importlib import import_module
from pathlib import Path

import click

from cli import installed, ports
from core.settings.whole import Settings

HOST = "127.0.0.1"
PORTS = {"fastapi": 8000, "flask": 5000}
_INCLUDE_HOST = ("localhost", "0.0.0.0", "::")  # noqa: S104 - what it is compared with
_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--framework", type=click.Choice(["both", *PORTS]), default="both", show_default=True)
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, help="Port of a single front door; without it, that of the variable PORT.")
@click.option("--uds", type=click.Path(path_type=Path), help="Unix socket of a single front door, instead of a port.")
@click.option("--fastapi-port", type=_PORT, show_default=str(PORTS["fastapi"]), help="Port of FastAPI.")
@click.option("--flask-port", type=_PORT, show_default=str(PORTS["flask"]), help="Port of Flask.")
@click.option("--root-path", help="Path under which a proxy shows it (AUTH_ROOT_PATH).")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes a front door.")
@click.option("--reload", is_flag=True, help="Start again when the code changes.")
@click.option("--listener", type=int, hidden=True, help="A socket inherited from the parent, to listen on.")
@click.option("--is-prepared", is_flag=True, hidden=True, help="The parent has prepared the start.")
@click.option("--parent", type=int, hidden=True, help="The process with which this one ends.")
def serve(  # noqa: PLR0913 - the options of a command
    framework: str,
    host: str,
    port: int | None,
    uds: Path | None,
    fastapi_port: int | None,
    flask_port: int | None,
    root_path: str | None,
    workers: int,
    *,
    reload: bool,
    listener: int | None,
    is_prepared: bool,
    parent: int | None,
) -> None:
    """Serve the API."""
    if listener is not None:
        _serve_as_child(framework, socket.socket(fileno=listener), workers, parent or 0, is_prepared=is_prepared)
        return
    if framework == "both" and port is not None:
        raise click.UsageError("--port goes with --framework fastapi or flask; both take --fastapi-port, --flask-port")
    if uds is not None and (framework == "both" or port is not None or reload):
        raise click.UsageError("--uds goes with --framework fastapi or flask, and neither with --port nor --reload")
    installed.require(PORTS if framework == "both" else [framework])
    if root_path is not None:
        os.environ["AUTH_ROOT_PATH"] = root_path  # which the doors and their workers read
    chosen = {} if uds else _ports(framework, port, {"fastapi": fastapi_port, "flask": flask_port})
    listeners = {name: ports.bound(host, number, option=f"--{name}-port") for name, number in chosen.items()}
    if uds is not None:
        listeners[framework] = ports.bound_to_file(uds)
    found = import_module("cli.startup").startup(workers)
    if found.logging.format == "console":
        _say_where(found, host, chosen, uds)
    if len(listeners) == 1 and not reload and not _has_terminal():
        _serve_here(framework, listeners[framework], found, workers)
    else:
        import_module("cli.doors").serve_doors(listeners, workers, reload=reload)


def _serve_here(framework: str, listener: socket.socket, found: Settings, workers: int) -> None:
    import_module("servers.descriptors").raise_limit()
    import_module(f"servers.{framework}").serve(listener, found, workers)


def _serve_as_child(framework: str, listener: socket.socket, workers: int, parent: int, *, is_prepared: bool) -> None:
    import_module("servers.stopping").end_with(parent)
    startup = import_module("cli.startup")
    found = startup.settings_of_process() if is_prepared else startup.startup(workers)
    _serve_here(framework, listener, found, workers)


def _has_terminal() -> bool:
    """Whether a terminal can be closed over a door: to the servers, SIGHUP is an operator's who asks to reload."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def _ports(framework: str, port: int | None, named: dict[str, int | None]) -> dict[str, int]:
    """The port of each front door that is to be served. An option wins over the platform's variable."""
    if framework == "both":
        return {name: number or PORTS[name] for name, number in named.items()}
    return {framework: port or named[framework] or ports.port_of_platform() or PORTS[framework]}


def _say_where(found: Settings, host: str, chosen: dict[str, int], uds: Path | None) -> None:
    docs = "/docs" if import_module("core.http.pages").offers_docs(found) else ""
    for name, port in chosen.items():
        click.echo(f"{installed.NAMES[name]:8} {_address(host, port)}{docs}")
    if uds is not None:
        click.echo(f"Socket   {uds}")
    if found.mail.smtp_url is None:
        click.echo("Mail     is shown here, and by `twinauth mail`")
    if len(chosen) == 1 and (address := links_lead_past(found, host, *chosen.values())):
        click.echo(
            f"Links in mail lead to {found.http.public_url}; if nothing serves there, set AUTH_PUBLIC_URL={address}"
        )
    click.echo(f"Ctrl-C   stops {'both' if len(chosen) > 1 else 'it'}")


def links_lead_past(found: Settings, host: str, port: int) -> str | None:
    """The address of a door that links in mail do not lead to; None where they do, or where the operator has chosen.

    The public URL is the issuer of tokens as well. So it does not follow the port by itself: two doors in two terminals
    would refuse each other's tokens.
    """
    if "public_url" in found.http.model_fields_set:
        return None
    address = _address(HOST if host in _INCLUDE_HOST else host, port)
    return None if address == found.http.public_url else address


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
