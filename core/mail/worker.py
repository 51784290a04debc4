"""The mail worker: takes messages from the outbox and hands them to a mailer, at least once each."""

from __future__ import annotations

import random
from datetime import timedelta

import structlog

from core.background import Background
from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.mail.composer import Composer
from core.mail.model import Message, retry_delay
from core.mail.rendering import EmailRenderer
from core.mail.transports import CONVERSATION_ANSWERS, Mailer, MailError, MailRefused
from core.settings.groups import MailSettings
from core.storage.retries import retried
from core.store import Store

# The lease of a message, in timeouts of a mail server's single answer. If a worker is killed, its message is due again
# after the lease. A lease that ends while its worker is still sending makes a duplicate, so it is longer than all of:
# checking the connection, closing it, opening another one, and sending.
LEASE_ANSWERS = 2 + 2 * CONVERSATION_ANSWERS + 2
POLL = 2.0  # seconds between two checks of the outbox without a wake-up

log = structlog.get_logger("relay")


class MailWorker:
    """Sends due messages: in the caller's thread with `run_once` and `run`, in a new one with `start`."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        composer: Composer,
        renderer: EmailRenderer,
        mailer: Mailer,
        settings: MailSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._composer = composer
        self._renderer = renderer
        self._mailer = mailer
        self._settings = settings
        self._background = Background("relay", self.run_once, every=POLL, finish=mailer.close)

    @property
    def lease(self) -> timedelta:
        """How long a message is this worker's own after it was claimed."""
        return self._settings.smtp_timeout * LEASE_ANSWERS

    def run_once(self) -> int:
        """Try every due message; return the number of attempts.

        Raises:
            DatabaseUnavailable: the database is away; a claimed message is due again after its lease.

        """
        attempts = 0
        while not self._background.is_stopping and (message := self._claim()) is not None:
            self._attempt(message)
            attempts += 1
        return attempts

    def start(self) -> None:
        """Send in a new thread until `stop`."""
        self._background.start()

    def run(self) -> None:
        """Send in this thread until `ask_to_stop`."""
        self._background.run()

    def wake(self) -> None:
        """Check the outbox at once: a message was stored."""
        self._background.wake()

    def ask_to_stop(self) -> None:
        """Finish the current attempt, and begin no other."""
        self._background.ask_to_stop()

    def stop(self) -> None:
        """Ask the thread to stop, and wait for it."""
        self._background.stop()

    @retried
    def _claim(self) -> Message | None:
        now = self._clock.now()
        # First without a transaction: nearly always no message is due, and a claim takes SQLite's one writer.
        with self._store.reading() as read:
            if not read.outbox.is_due(now=now):
                return None
        with self._store.begin() as work:
            message = work.outbox.claim(now=now, lease=self.lease)
            work.commit()
        return message

    def _attempt(self, message: Message) -> None:
        try:
            letter = self._composer.prepare(message)
            if letter is None:
                return
            self._mailer.send(self._renderer.write(letter))
        except DatabaseUnavailable:
            raise
        except MailRefused as error:
            self._give_up(message, str(error))
        except MailError as error:
            self._fail(message, str(error))
        except Exception as error:
            # A broken template must not stop the other messages.
            log.exception("mail could not be written", mail=str(message.id), kind=message.kind)
            self._fail(message, type(error).__name__)
        else:
            self._finish(message)

    @retried
    def _finish(self, message: Message) -> None:
        with self._store.begin() as work:
            work.outbox.finish(message, at=self._clock.now())
            work.commit()
        log.info("mail sent", mail=str(message.id), kind=message.kind, attempt=message.attempts)

    def _fail(self, message: Message, text: str) -> None:
        if message.attempts >= self._settings.mail_attempts:
            self._give_up(message, text)
            return
        delay = retry_delay(message.attempts, jitter=random.random())  # noqa: S311 - spreads attempts, hides nothing
        self._postpone(message, delay, text)

    @retried
    def _postpone(self, message: Message, delay: timedelta, text: str) -> None:
        with self._store.begin() as work:
            work.outbox.postpone(message, due_at=self._clock.now() + delay, error=text)
            work.commit()
        log.warning(
            "mail not sent",
            mail=str(message.id),
            kind=message.kind,
            attempt=message.attempts,
            error=text,
            next_in=round(delay.total_seconds()),
        )

    @retried
    def _give_up(self, message: Message, text: str) -> None:
        with self._store.begin() as work:
            work.outbox.give_up(message, at=self._clock.now(), error=text)
            work.commit()
        log.error("mail given up", mail=str(message.id), kind=message.kind, attempt=message.attempts, error=text)
