"""``twinauth clients``: the registered clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from cli.messages import exit_with_message, open_checked_store, say_none
from core.app import build_clients
from core.oauth.clients import ClientService


@click.group()
def clients() -> None:
    """Register service clients and rotate their secrets."""


@clients.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="A scope that the client may ask for; can be repeated.")
@click.option("--audience", "audiences", multiple=True, help="An audience of its tokens; can be repeated.")
def create(name: str, scopes: tuple[str, ...], audiences: tuple[str, ...]) -> None:
    """Register a client and print its secret, this once."""
    with _service() as service:
        client, secret = service.create(name, scopes, audiences)
    click.echo(f"id      {client.id}")
    click.echo(f"secret  {secret}")


@clients.command("list")
def list_clients() -> None:
    """List the clients, oldest first."""
    with exit_with_message(), open_checked_store() as (settings, store):
        with store.reading() as read:
            found = read.clients.all()
        if not found:
            say_none(settings, "clients")
    for client in found:
        used = f"{client.last_used_at:%Y-%m-%d %H:%M}Z" if client.last_used_at else "never"
        state = "active" if client.is_active else "disabled"
        click.echo(f"{client.id}  {state:8}  used {used:17}  {client.name}  {' '.join(client.scopes)}")


@clients.command()
@click.argument("client_id")
def disable(client_id: str) -> None:
    """Let a client authenticate no more, and end its tokens."""
    with _service() as service:
        service.set_active(client_id, is_active=False)
    click.echo(f"{client_id} is disabled")


@clients.command()
@click.argument("client_id")
def enable(client_id: str) -> None:
    """Let a client authenticate again."""
    with _service() as service:
        service.set_active(client_id, is_active=True)
    click.echo(f"{client_id} is active")


@clients.command("rotate-secret")
@click.argument("client_id")
@click.option(
    "--overlap", type=click.IntRange(0), default=86400, show_default=True, help="Seconds for which old secrets work on."
)
def rotate_secret(client_id: str, overlap: int) -> None:
    """Give a client a new secret and print it, this once."""
    with _service() as service:
        secret = service.rotate_secret(client_id, overlap=timedelta(seconds=overlap))
    click.echo(f"secret  {secret}")


@contextmanager
def _service() -> Iterator[ClientService]:
    with exit_with_message(), open_checked_store() as (found, store):
        yield build_clients(found, store=store)
