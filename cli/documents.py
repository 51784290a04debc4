"""``twinauth openapi`` and ``twinauth settings``: documents generated from the code."""

import json

import click

from core.settings.loading import settings_table
from core.settings.production import dangers_table


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from cli.messages import settings as settings_of_process  # noqa: PLC0415
    from core.capabilities import CONTRACT  # noqa: PLC0415
    from core.http.openapi import document  # noqa: PLC0415 - the table of settings does not need it

    click.echo(json.dumps(document(CONTRACT, settings_of_process().http.public_url), indent=2, ensure_ascii=False))


@click.command()
def settings() -> None:
    """Print the table of settings and that of what production refuses, in Markdown."""
    click.echo("\n".join((*settings_table(), "", *dangers_table())))
