"""Users: the value that leaves the core, and what a store must be able to do with it."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account as its owner sees it; never a hash."""

    id: uuid.UUID
    email: str
    email_verified: bool
    display_name: str | None
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user together with the password hash; it stays inside the core."""

    user: User
    password_hash: str = field(repr=False)


class Users(Protocol):
    """Port: the accounts inside one unit of work."""

    def add(self, account: Account, *, canonical_email: str) -> bool:
        """Store a new account; False where another one has this canonical address."""
        ...

    def by_email(self, canonical_email: str) -> Account | None:
        """The account with this canonical address."""
        ...

    def by_id(self, user_id: uuid.UUID) -> Account | None:
        """The account with this id."""
        ...

    def lock_credentials(self, user_id: uuid.UUID, password_hash: str) -> User | None:
        """The active user, if the hash is still this one, held so until the unit of work ends.

        A login that checked a password a moment ago must not start a session after that password was changed.
        """
        ...

    def lock(self, user_id: uuid.UUID) -> User | None:
        """The user, held so until the unit of work ends: two messages to one user are prepared one after the other."""
        ...

    def replace_password(self, user_id: uuid.UUID, *, old_hash: str, new_hash: str, at: datetime) -> bool:
        """Set the hash if it is still ``old_hash``; False where somebody else was faster."""
        ...

    def set_display_name(self, user_id: uuid.UUID, display_name: str | None, *, at: datetime) -> User | None:
        """Set the name and give the user as it is now."""
        ...

    def reset_password(self, user_id: uuid.UUID, new_hash: str, *, at: datetime) -> User | None:
        """Set the hash of an active user who has proved to read mail at the address, which is verified by that."""
        ...

    def verify_email(self, user_id: uuid.UUID, *, at: datetime) -> User | None:
        """Mark the address of an active user as verified and give the user as it is now."""
        ...

    def set_email(self, user_id: uuid.UUID, address: str, *, canonical_email: str, at: datetime) -> User | None:
        """Set another, verified address of an active user and give the user as it is now.

        Raises:
            EmailTaken: another account has this canonical address.

        """
        ...

    def remove(self, user_id: uuid.UUID) -> str | None:
        """Delete a user with sessions, messages and tokens.

        The canonical address that is free now, as it was stored; None where there is no such user.
        """
        ...
