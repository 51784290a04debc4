"""The command ``twinauth`` and its sub-commands, each loaded when it runs."""

from importlib import import_module
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A group that imports a command only when it runs, so that the first line of output comes at once."""

    commands_at: ClassVar[dict[str, str]] = {
        "serve": "cli.serve:serve",
        "migrate": "cli.migrate:migrate",
        "keys": "cli.keys:keys",
        "secret": "cli.secret:secret",
        "clients": "cli.clients:clients",
        "passwords": "cli.passwords:passwords",
        "mail": "cli.mail:mail",
        "outbox": "cli.outbox:outbox",
        "relay": "cli.relay:relay",
        "openapi": "cli.documents:openapi",
        "settings": "cli.documents:settings",
    }

    def list_commands(self, _context: click.Context) -> list[str]:
        """Name the commands."""
        return list(self.commands_at)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Load a command."""
        if name not in self.commands_at:
            return None
        module, _, attribute = self.commands_at[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup)
@click.version_option(package_name="twinauth")
def main() -> None:
    """One auth service behind two front doors, FastAPI and Flask."""


if __name__ == "__main__":
    main(prog_name="twinauth")
