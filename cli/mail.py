"""``twinauth mail``: the messages that development stores instead of sending them."""

import time
from email.message import EmailMessage
from pathlib import Path

import click

from cli.messages import exit_with_message, settings
from core.mail.model import MessageKind
from core.mail.rendering import KIND_HEADER
from core.mail.transports import LocalMailbox, recipient_of, text_of
from core.users.addresses import canonical_or_none

POLL = 0.1  # seconds


@click.group(invoke_without_command=True)
@click.pass_context
def mail(context: click.Context) -> None:
    """List the messages that were kept on this machine, newest first."""
    if context.invoked_subcommand is None:
        folder = _folder()
        found = _messages(folder)
        if not found:
            click.echo(f"no messages in {folder}", err=True)
        for email in found:
            click.echo(f"{email['Date']}  {recipient_of(email):30}  {email['Subject']}")


@mail.command()
@click.argument("address")
@click.option("--kind", type=click.Choice([kind.value for kind in MessageKind]), help="Only a message of this kind.")
@click.option("--wait", type=click.FloatRange(0), default=0, help="Seconds to wait for one.")
def read(address: str, kind: str | None, wait: float) -> None:
    """Print the newest message to an address."""
    folder, deadline = _folder(), time.monotonic() + wait
    while (found := _newest(folder, address, kind)) is None and time.monotonic() < deadline:
        time.sleep(POLL)
    if found is None:
        raise click.ClickException(f"there is no such message in {folder}")
    click.echo(text_of(found), nl=False)


def _newest(folder: Path, address: str, kind: str | None) -> EmailMessage | None:
    canonical = canonical_or_none(address)  # a domain may be in Unicode or in ASCII
    wanted = (email for email in _messages(folder) if canonical_or_none(recipient_of(email)) == canonical)
    return next((email for email in wanted if kind in (None, email[KIND_HEADER])), None)


def _folder() -> Path:
    found = settings()
    if found.mail.smtp_url is not None:
        raise click.ClickException("messages go to AUTH_SMTP_URL; none are kept here")
    return found.mailbox_dir.absolute()


def _messages(folder: Path) -> list[EmailMessage]:
    with exit_with_message():
        return LocalMailbox(folder).all()
