"""``twinauth outbox``: the messages that could not be sent."""

import uuid

import click

from cli.messages import exit_with_message, open_checked_store, say_none
from core.clock import SystemClock


@click.group()
def outbox() -> None:
    """List the messages that were given up, and retry them."""


@outbox.command()
def dead() -> None:
    """List the messages that were given up, oldest first, without their recipients."""
    with exit_with_message(), open_checked_store() as (settings, store):
        with store.reading() as read:
            found = list(read.outbox.failed())
        if not found:
            say_none(settings, "messages that were given up")
    for message in found:
        click.echo(
            f"{message.id}  {message.dead_at:%Y-%m-%d %H:%M}Z  {message.attempts:3} attempts  "
            f"{message.kind:22}  {message.last_error}"
        )


@outbox.command()
@click.argument("message_id", type=click.UUID, required=False)
@click.option("--all", "everything", is_flag=True, help="Every message that was given up.")
def retry(message_id: uuid.UUID | None, *, everything: bool) -> None:
    """Retry a message that was given up."""
    if (message_id is None) is not everything:
        raise click.UsageError("name one message, or --all")
    with exit_with_message(), open_checked_store() as (_, store), store.begin() as work:
        count = work.outbox.retry(message_id, at=SystemClock().now())
        work.commit()
    if message_id is not None and count == 0:
        raise click.ClickException("there is no such message among those given up")
    click.echo(f"{count} to be tried anew")
