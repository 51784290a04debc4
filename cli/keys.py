"""``twinauth keys``: the signing keys."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.messages import exit_with_message, open_checked_store, say_none
from core.app import build_key_ring
from core.clock import SystemClock
from core.settings.groups import Algorithm
from core.tokens.key_ring import KeyRing
from core.tokens.model import current

_DASHED_KID = re.compile(r"-[\w-]{42}", re.ASCII)  # of the 43 characters of a thumbprint in base64url


@click.group()
def keys() -> None:
    """List, rotate and retire the signing keys."""


@keys.command("list")
def list_keys() -> None:
    """List the signing keys, oldest first."""
    with exit_with_message(), open_checked_store() as (settings, store):
        with store.reading() as read:
            found = read.keys.all()
        if not found:
            say_none(settings, "signing keys")
    now = SystemClock().now()
    signing = current(found, now)
    for key in found:
        state = "signing" if key is signing else "next" if key.activates_at > now else "verifying"
        click.echo(f"{key.kid}  {key.algorithm:6} {state:9} from {key.activates_at:%Y-%m-%d %H:%M:%S}Z")


@keys.command()
@click.option("--algorithm", type=click.Choice(["ES256", "RS256", "EdDSA"]), help="Algorithm of the new key.")
def rotate(algorithm: Algorithm | None) -> None:
    """Publish a new key; it signs once every verifier can have seen it."""
    with _ring() as ring:
        ring.ensure()
        key = ring.rotate(algorithm)
    click.echo(f"{key.kid} is published and signs from {key.activates_at:%Y-%m-%d %H:%M:%S}Z")


class _KidCommand(click.Command):
    """A command whose argument is the id of a key: one in 64 begins with a dash, and is no option for that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ids behind all options, where none is taken for one."""
        kids = [argument for argument in args if _DASHED_KID.fullmatch(argument)]
        others = [argument for argument in args if argument not in kids]
        return super().parse_args(ctx, [*others, "--", *kids] if kids else others)


@keys.command(cls=_KidCommand)
@click.argument("kid")
@click.option("--now", "at_once", is_flag=True, help="Refuse at once everything that the key has signed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def retire(kid: str, *, at_once: bool, yes: bool) -> None:
    """End a key that leaked, and every token that it has signed.

    Sessions live on: their applications get a token of another key at the next refresh.

    Example: twinauth keys retire NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --now
    """
    if not at_once:
        raise click.UsageError("a key leaves by itself after twinauth keys rotate; --now ends one that leaked")
    if not yes:
        click.confirm(f"End {kid} and every token that it has signed, now?", abort=True)
    with _ring() as ring:
        key = ring.retire(kid)
    click.echo(f"{kid} is retired; {key.kid} signs")


@keys.command()
def reseal() -> None:
    """Encrypt the private keys under AUTH_SECRET_KEY, after it was changed and the one before listed as old."""
    with _ring() as ring:
        count = ring.reseal()
    click.echo(f"{count} keys are sealed under the current secret")


@contextmanager
def _ring() -> Iterator[KeyRing]:
    with exit_with_message(), open_checked_store() as (found, store):
        yield build_key_ring(found, store=store)
