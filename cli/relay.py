"""``twinauth relay``: sends mail in a separate process."""

import os
import signal

import click

from cli.messages import exit_with_message, open_checked_store
from cli.startup import warn_of_dangers, warn_of_exposed_files
from core.app import build_mail_worker
from core.logs import configure

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command()
def relay() -> None:
    """Send the messages of the outbox until a signal ends the process. Several may run at once."""
    os.environ["AUTH_RELAY"] = "true"  # whatever the serving processes are told, mail leaves from here
    with exit_with_message(), open_checked_store() as (found, store):
        configure(found)
        warn_of_exposed_files(found)
        warn_of_dangers(found)
        worker = build_mail_worker(found, store=store)

        # `sigwait` instead of a handler, which would run between any two steps of the main thread, also inside a lock.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        worker.start()
        if found.logging.format == "console":
            click.echo("The relay is running.")
        signal.sigwait(STOP_SIGNALS)
        worker.stop()
