"""The operations of accounts: signing up, and changes that users make to their own account."""

from http import HTTPMethod, HTTPStatus

from core.accounts.errors import InvalidResetToken, InvalidUndoToken, InvalidVerificationToken, ProofRequired
from core.accounts.export_schemas import AccountExport
from core.accounts.schemas import (
    ChangeEmailRequest,
    ChangePasswordRequest,
    DeleteAccountRequest,
    DisownAccountRequest,
    ResetDone,
    ResetPasswordRequest,
    SendPasswordResetRequest,
    SignupAccepted,
    SignupRequest,
    UndoEmailChangeRequest,
    UpdateAccountRequest,
    VerifyEmailRequest,
)
from core.authentication.errors import Overloaded, WrongPassword
from core.contract.operation import Auth, Operation, Tag
from core.errors import AccountBusy
from core.throttling.errors import TooManyAttempts
from core.users.errors import EmailTaken
from core.users.schemas import User

SIGNUP = Operation(
    id="signup",
    method=HTTPMethod.POST,
    path="/v1/signup",
    tag=Tag.ACCOUNTS,
    summary="Sign up",
    description="Create an account. Addresses that differ only in case are one account. The password has no "
    "composition rules; short, common, and address-bearing ones are refused with the reason.",
    json=SignupRequest,
    response=User,
    status=HTTPStatus.CREATED,
    success="The account.",
    other_statuses={
        HTTPStatus.ACCEPTED: "Where only verified addresses may log in: a link is on its way, or the owner of the "
        "address told that it has an account already."
    },
    other_responses={HTTPStatus.ACCEPTED: SignupAccepted},
    errors=(EmailTaken, TooManyAttempts, Overloaded),
)

UPDATE_ACCOUNT = Operation(
    id="update_account",
    method=HTTPMethod.PATCH,
    path="/v1/account",
    tag=Tag.ACCOUNTS,
    summary="Update the account",
    description="Change the display name, or remove it with null.",
    json=UpdateAccountRequest,
    response=User,
    success="The user as it is now.",
    auth=Auth.USER,
)

CHANGE_PASSWORD = Operation(
    id="change_password",
    method=HTTPMethod.POST,
    path="/v1/account/password",
    tag=Tag.ACCOUNTS,
    summary="Change the password",
    description="Set a new password. Every other session of the user ends; this one goes on.",
    json=ChangePasswordRequest,
    status=HTTPStatus.NO_CONTENT,
    success="The password is changed.",
    auth=Auth.USER,
    errors=(WrongPassword, TooManyAttempts, Overloaded),
)

CHANGE_EMAIL = Operation(
    id="change_email",
    method=HTTPMethod.POST,
    path="/v1/account/email",
    tag=Tag.ACCOUNTS,
    summary="Change the e-mail address",
    description="Send a link to the new address. The change takes effect when it is followed; until then the "
    "account keeps its address, which is told of the request. Whether the new address has an account is not told.",
    json=ChangeEmailRequest,
    status=HTTPStatus.ACCEPTED,
    success="The link is on its way.",
    auth=Auth.USER,
    errors=(WrongPassword, TooManyAttempts, Overloaded),
)

EXPORT_ACCOUNT = Operation(
    id="export_account",
    method=HTTPMethod.GET,
    path="/v1/account/export",
    tag=Tag.ACCOUNTS,
    summary="Export the account",
    description="Everything that is stored about the user, but for what only serves to check secrets. It is streamed, "
    "so it has no length; one that ends before its JSON does was cut off.",
    response=AccountExport,
    success="All of it.",
    auth=Auth.USER,
    errors=(AccountBusy,),
)

DELETE_ACCOUNT = Operation(
    id="delete_account",
    method=HTTPMethod.POST,
    path="/v1/account/delete",
    tag=Tag.ACCOUNTS,
    summary="Delete the account",
    description="Remove the user, for good. Nobody gets in from now on, and the address is free; all else that belongs "
    "to the account is gone within a minute. Of the audit log, only the kinds and times of events remain.",
    json=DeleteAccountRequest,
    status=HTTPStatus.NO_CONTENT,
    success="The account is deleted.",
    auth=Auth.USER,
    errors=(WrongPassword, TooManyAttempts, Overloaded),
)

SEND_PASSWORD_RESET = Operation(
    id="send_password_reset",
    method=HTTPMethod.POST,
    path="/v1/send-password-reset",
    tag=Tag.ACCOUNTS,
    summary="Ask for a new password",
    description="Send a link to the owner of an address. The answer is the same, and takes the same time, whether "
    "there is such an account or not. A newer link replaces the one before.",
    json=SendPasswordResetRequest,
    status=HTTPStatus.ACCEPTED,
    success="If there is such an account, a link is on its way.",
    errors=(TooManyAttempts,),
)

RESET_PASSWORD = Operation(
    id="reset_password",
    method=HTTPMethod.POST,
    path="/v1/reset-password",
    tag=Tag.ACCOUNTS,
    summary="Set a new password",
    description="Set a new password with the token of a link, which works once. Every session of the user ends, "
    "and nobody is logged in. The address is verified as well; if it never was before, the display name is "
    "removed, which a stranger may have chosen. A password that is refused leaves the token as it is.",
    json=ResetPasswordRequest,
    status=HTTPStatus.NO_CONTENT,
    success="The password is set.",
    other_statuses={HTTPStatus.OK: "The same, with the token of the device that was asked for."},
    other_responses={HTTPStatus.OK: ResetDone},
    errors=(InvalidResetToken, Overloaded),
)

SEND_EMAIL_VERIFICATION = Operation(
    id="send_email_verification",
    method=HTTPMethod.POST,
    path="/v1/send-email-verification",
    tag=Tag.ACCOUNTS,
    summary="Ask for a link to verify the address",
    description="Send the user another link; the one before loses its worth. A verified address is sent none.",
    status=HTTPStatus.ACCEPTED,
    success="The link is on its way.",
    auth=Auth.USER,
    errors=(TooManyAttempts,),
)

VERIFY_EMAIL = Operation(
    id="verify_email",
    method=HTTPMethod.POST,
    path="/v1/verify-email",
    tag=Tag.ACCOUNTS,
    summary="Verify an address",
    description="Verify the address that the token of a link was sent to. Where it was sent to a new address, the "
    "account has that one from now on. The first verification of an account needs an access token or the password of "
    "it as well, because a stranger may have signed up with the address; neither a missing nor a wrong one uses the "
    "token up. A second time, nothing more happens.",
    json=VerifyEmailRequest,
    status=HTTPStatus.NO_CONTENT,
    success="The address is verified.",
    auth=Auth.OPTIONAL_USER,
    errors=(InvalidVerificationToken, ProofRequired, WrongPassword, TooManyAttempts, Overloaded),
)

DISOWN_ACCOUNT = Operation(
    id="disown_account",
    method=HTTPMethod.POST,
    path="/v1/disown-account",
    tag=Tag.ACCOUNTS,
    summary="Disown an account",
    description="Delete an account that somebody else made with the address that the token of a verification was sent "
    "to. An account that was ever verified stays.",
    json=DisownAccountRequest,
    status=HTTPStatus.NO_CONTENT,
    success="Nothing of it is left.",
    errors=(InvalidVerificationToken,),
)

UNDO_EMAIL_CHANGE = Operation(
    id="undo_email_change",
    method=HTTPMethod.POST,
    path="/v1/undo-email-change",
    tag=Tag.ACCOUNTS,
    summary="Undo a change of the e-mail address",
    description="Give the account the address back that the token of a link was sent to, up to seven days after the "
    "change. Every session of the user ends, and the password no longer works, because it was known to whoever made "
    "the change: a reset sets a new one. A second time, nothing more happens.",
    json=UndoEmailChangeRequest,
    status=HTTPStatus.NO_CONTENT,
    success="The account has its earlier address.",
    errors=(InvalidUndoToken,),
)

OPERATIONS = (
    SIGNUP,
    UPDATE_ACCOUNT,
    CHANGE_PASSWORD,
    CHANGE_EMAIL,
    EXPORT_ACCOUNT,
    DELETE_ACCOUNT,
    SEND_PASSWORD_RESET,
    RESET_PASSWORD,
    SEND_EMAIL_VERIFICATION,
    VERIFY_EMAIL,
    DISOWN_ACCOUNT,
    UNDO_EMAIL_CHANGE,
)
