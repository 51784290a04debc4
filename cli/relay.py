"""``twinauth relay``: sends mail in a separate process."""

import signal

import click

from cli.messages import exit_with_message, open_checked_store
from cli.startup import warn_of_exposed_files
from core.app import build_mail_worker
from core.logs import configure

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command()
def relay() -> None:
    """Send the messages of the outbox until a signal ends the process. Several may run at once."""
    with exit_with_message(), open_checked_store() as (found, store):
        configure(found)
        warn_of_exposed_files(found)
        if found.is_production and found.mail.smtp_url is None:
            raise click.ClickException("AUTH_SMTP_URL must be set when AUTH_ENV=production")
        worker = build_mail_worker(found, store=store)

        # `sigwait` instead of a handler, which would run between any two steps of the main thread, also inside a lock.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        worker.start()
        if found.logging.format == "console":
            click.echo("The relay is running.")
        signal.sigwait(STOP_SIGNALS)
        worker.stop()
