"""``twinauth openapi``: the contract as a document."""

import json

import click

from core.http.openapi import document


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(document(), indent=2, ensure_ascii=False))
