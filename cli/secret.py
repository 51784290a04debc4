"""``twinauth secret``: the one secret from which all keys are derived."""

import click

from cli.messages import exit_with_message, open_checked_store
from core.app import build_secret_replacement


@click.group()
def secret() -> None:
    """Replace a secret key that leaked."""


@secret.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def replace(*, yes: bool) -> None:
    """End everything that a leaked AUTH_SECRET_KEY protects, under a new one.

    Put the new secret in place of the old one first, and list no old one. Every session and every link in mail ends,
    and so does every signing key, at verifiers too; the counters of the throttle begin anew. Passwords and secrets of
    clients stay: they do not depend on it. Then start every process anew: one with the old secret signs nothing.

    A secret that did not leak is changed by twinauth keys reseal, which ends no session.

    Example: AUTH_SECRET_KEY=$(openssl rand -base64 48) twinauth secret replace
    """
    with exit_with_message(), open_checked_store() as (found, store):
        if found.old_secret_keys:
            raise click.ClickException("AUTH_OLD_SECRET_KEYS: a secret that leaked must not be read any more; unset it")
        replacement = build_secret_replacement(found, store=store)
        if not yes:
            click.confirm("End every session, link and signing key, now?", abort=True)
        ended = replacement.run()
    click.echo(f"{ended.sessions} sessions, {ended.links} links and every signing key have ended")
    click.echo(f"{ended.signing.kid} signs; start every process anew with this secret now")
