"""``twinauth serve``: one front door in this process, or several as children of it."""

import os
import socket
from importlib import import_module

import click

from cli import installed, ports
from core.settings.whole import Settings

HOST = "127.0.0.1"
PORTS = {"fastapi": 8000, "flask": 5000}
_INCLUDE_HOST = ("localhost", "0.0.0.0")  # noqa: S104 - what it is compared with
_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--framework", type=click.Choice(["both", *PORTS]), default="both", show_default=True)
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, help="Port of a single front door.")
@click.option("--fastapi-port", type=_PORT, default=PORTS["fastapi"], show_default=True, help="Port of FastAPI.")
@click.option("--flask-port", type=_PORT, default=PORTS["flask"], show_default=True, help="Port of Flask.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes a front door.")
@click.option("--reload", is_flag=True, help="Start again when the code changes.")
@click.option("--listener", type=int, hidden=True, help="A socket inherited from the parent, to listen on.")
@click.option("--is-prepared", is_flag=True, hidden=True, help="The parent has prepared the start.")
@click.option("--parent", type=int, hidden=True, help="The process with which this one ends.")
def serve(  # noqa: PLR0913 - the options of a command
    framework: str,
    host: str,
    port: int | None,
    fastapi_port: int,
    flask_port: int,
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
    chosen = {"fastapi": fastapi_port, "flask": flask_port}
    if framework != "both":
        chosen = {framework: port or chosen[framework]}
    installed.require(chosen)
    listeners = {name: ports.bound(host, number, option=f"--{name}-port") for name, number in chosen.items()}
    found = import_module("cli.startup").startup(workers)
    if found.logging.format == "console":
        _say_where(found, host, chosen)
    if len(listeners) == 1 and not reload and not _has_terminal():
        _serve_here(framework, listeners[framework], found, workers)
    else:
        import_module("cli.doors").serve_doors(listeners, workers, reload=reload)


def _serve_here(framework: str, listener: socket.socket, found: Settings, workers: int) -> None:
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


def _say_where(found: Settings, host: str, chosen: dict[str, int]) -> None:
    docs = "/docs" if import_module("core.http.pages").offers_docs(found) else ""
    for name, port in chosen.items():
        click.echo(f"{installed.NAMES[name]:8} {_address(host, port)}{docs}")
    if found.mail.smtp_url is None:
        click.echo("Mail     is shown here, and by `twinauth mail`")
    (first, *others) = chosen.values()
    if not others and (address := links_lead_past(found, host, first)):
        click.echo(
            f"Links in mail lead to {found.http.public_url}; if nothing serves there, set AUTH_PUBLIC_URL={address}"
        )
    click.echo(f"Ctrl-C   stops {'both' if others else 'it'}")


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
