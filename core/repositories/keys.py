"""Signing keys in SQL."""

from sqlalchemy import Connection, delete, insert, select, update

from core.keys import SigningKey
from core.repositories.engine import translated
from core.repositories.tables import signing_keys


class SqlKeys:
    """The `Keys` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[SigningKey]:
        """Every key, oldest first."""
        rows = self._connection.execute(select(signing_keys).order_by(signing_keys.c.number))
        return [SigningKey(**row) for row in rows.mappings()]

    def add(self, key: SigningKey) -> None:
        """Store a new key."""
        with translated():
            self._connection.execute(
                insert(signing_keys).values(
                    kid=key.kid,
                    number=key.number,
                    algorithm=key.algorithm,
                    public_jwk=key.public_jwk,
                    sealed_private_key=key.sealed_private_key,
                    created_at=key.created_at,
                    activates_at=key.activates_at,
                )
            )

    def replace_sealed(self, kid: str, sealed_private_key: bytes) -> None:
        """Store the private key as it is sealed now."""
        self._connection.execute(
            update(signing_keys).where(signing_keys.c.kid == kid).values(sealed_private_key=sealed_private_key)
        )

    def remove(self, kid: str) -> None:
        """Forget a key."""
        self._connection.execute(delete(signing_keys).where(signing_keys.c.kid == kid))
