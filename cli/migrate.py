"""``twinauth migrate``: bring the database to the schema of this version."""

import click

from cli.messages import database_named, exit_with_message, place_in, settings
from core.settings.whole import Settings
from core.sql_store import open_store
from core.storage.engine import database_errors


@click.command()
def migrate() -> None:
    """Bring the database to the schema of this version."""
    with exit_with_message():
        migrate_database(settings())
    click.echo("The database is up to date.")


def migrate_database(found: Settings) -> None:
    """Migrate. Of several processes that start at once, one migrates and the others wait."""
    # Imported here, because most starts need no migration and so no Alembic.
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from migrations.runner import upgrade  # noqa: PLC0415

    # Another process may be migrating, which takes longer than the timeout of a request.
    long_timeout = found.database.model_copy(update={"timeout": found.database.timeout * 30})
    store = open_store(found.database.url.get_secret_value(), long_timeout)
    try:
        with database_named(found), database_errors():
            try:
                upgrade(store.engine)
            except CommandError:
                store.check()  # says so, if what it found is another application's
                raise click.ClickException(
                    f"{place_in(found)}: its schema is of a newer version than this one"
                ) from None
    finally:
        store.close()
