"""Users: the value that leaves the core, and its port."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account as its owner sees it, without the password hash."""

    id: uuid.UUID
    email: str
    email_verified: bool
    display_name: str | None
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime
    updated_at: datetime


NO_PASSWORD = "!"  # noqa: S105 - the absence of one
"""In place of a hash: no password matches it, until a reset sets one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user with the password hash; it never leaves the core."""

    user: User
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedAccount:
    """An account that its owner has deleted, until the housekeeping has erased what it left behind."""

    id: uuid.UUID
    erased_until: uuid.UUID | None
    """The last of its audit events, in the order of their ids, of which the addresses are erased."""


class Users(Protocol):
    """Port: the accounts inside one unit of work."""

    def add(self, account: Account, *, canonical_email: str) -> bool:
        """Store a new account; False if another one has this canonical address."""
        ...

    def by_email(self, canonical_email: str) -> Account | None:
        """Return the account with this canonical address."""
        ...

    def by_id(self, user_id: uuid.UUID) -> Account | None:
        """Return the account with this id."""
        ...

    def lock_credentials(self, user_id: uuid.UUID, password_hash: str) -> User | None:
        """Lock an active user until the unit of work ends; None if the hash is no longer this one.

        A login that checked a password a moment ago must not start a session after that password was changed.
        """
        ...

    def lock(self, user_id: uuid.UUID) -> User | None:
        """Lock a user until the unit of work ends, so that two messages to one user are prepared one by one."""
        ...

    def replace_password(self, user_id: uuid.UUID, *, old_hash: str, new_hash: str, at: datetime) -> bool:
        """Set the hash if it is still ``old_hash``; False if another request was faster."""
        ...

    def set_display_name(self, user_id: uuid.UUID, display_name: str | None, *, at: datetime) -> User | None:
        """Set the name; return the updated user."""
        ...

    def reset_password(self, user_id: uuid.UUID, new_hash: str, *, at: datetime) -> User | None:
        """Set the hash of an active user and mark the address as verified: the user has proved to read its mail.

        If the address was never verified before, the display name is removed: a stranger may have chosen it.
        """
        ...

    def verify_email(self, user_id: uuid.UUID, *, at: datetime) -> User | None:
        """Mark the address of an active user as verified; return the updated user."""
        ...

    def set_email(self, user_id: uuid.UUID, address: str, *, canonical_email: str, at: datetime) -> User | None:
        """Set another, verified address of an active user; return the updated user.

        Raises:
            EmailTaken: another account has this canonical address.

        """
        ...

    def mark_deleted(self, user_id: uuid.UUID, *, at: datetime) -> str | None:
        """Delete a user as far as anybody can see: nothing finds the account any more, and it has no personal data.

        Its rows in other tables, which grow with its history, are left to the housekeeping.

        Returns the canonical address, which is free now; None if there is no such user.
        """
        ...

    def next_deleted(self) -> DeletedAccount | None:
        """Lock the account that was deleted first, until the unit of work ends.

        Those that another process has locked at this moment are skipped.
        """
        ...

    def note_erased(self, user_id: uuid.UUID, *, until: uuid.UUID) -> None:
        """Note the last audit event of a deleted account of which the addresses are erased."""
        ...

    def restore_email(self, user_id: uuid.UUID, address: str, *, canonical_email: str, at: datetime) -> User | None:
        """Give an active user an earlier, verified address back, and no password; return the updated user.

        Raises:
            EmailTaken: another account has this canonical address.

        """
        ...

    def remove(self, user_id: uuid.UUID) -> str | None:
        """Delete the row of a user, with those that refer to it.

        Returns the stored canonical address, which is free now; None if there is no such user.
        """
        ...
