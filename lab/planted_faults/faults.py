"""The faults: which text of which file becomes what, and which tests are to see it.

One at least for each heading of docs/security.md. tests/unit/test_planted_faults.py holds that each text still stands
in its file exactly once, so whoever changes such a line brings its fault along.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A defect that somebody might make by mistake."""

    name: str
    heading: str
    """Of docs/security.md: what it would break."""
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


PASSWORDS = "Passwords and logins"
TOKENS = "Tokens and sessions"
MAIL = "Mail and links"
INPUT = "Input"
PARTS = "Failing parts"
STACK = "The stack"
SECRETS = "Secrets and dependencies"

FAULTS = (
    Fault(
        name="an unknown account costs no hash",
        heading=PASSWORDS,
        file="core/authentication/passwords/hasher.py",
        text="        self._context.hash(password)\n        return False\n",
        replacement="        return False\n",
        tests=("tests/contract/test_cost.py::test_a_login_is_one_hash_at_full_cost_whoever_is_meant",),
    ),
    Fault(
        name="passwords are cut after 72 characters",
        heading=PASSWORDS,
        file="core/authentication/passwords/hasher.py",
        text="return str(self._pool.run(self._context.hash, normalise(password)))",
        replacement="return str(self._pool.run(self._context.hash, normalise(password)[:72]))",
        tests=("tests/unit/test_passwords.py::test_of_different_passwords_never_match",),
    ),
    Fault(
        name="a failed login is not committed",
        heading=PASSWORDS,
        file="core/authentication/login.py",
        text="work.audit.add(event(EventKind.LOGIN_FAILED, at=self._clock.now(), origin=origin, user_id=user_id))\n"
        "            work.commit()\n",
        replacement="work.audit.add(event(EventKind.LOGIN_FAILED, at=self._clock.now(), origin=origin, "
        "user_id=user_id))\n",
        tests=("tests/storage/test_use_cases.py::test_a_refused_login_is_recorded_before_it_is_refused",),
    ),
    Fault(
        name="a throttle key without the account",
        heading=PASSWORDS,
        file="core/throttling/throttle.py",
        text="CounterKind.ACCOUNT_FROM_BLOCK: (account, block),",
        replacement="CounterKind.ACCOUNT_FROM_BLOCK: (block,),",
        tests=("tests/contract/test_throttle.py::test_other_accounts_are_not_slowed_down",),
    ),
    Fault(
        name="typ is not checked",
        heading=TOKENS,
        file="core/tokens/access_tokens.py",
        text="if len(kid) > MAX_KID or kind.lower() not in ACCEPTED_TYPES:",
        replacement="if len(kid) > MAX_KID or not kind:",
        tests=("tests/unit/test_token_attacks.py::test_no_attack_succeeds",),
    ),
    Fault(
        name="the grace lasts one moment too long",
        heading=TOKENS,
        file="core/sessions/model.py",
        text="abs(now - session.last_used_at) < grace:",
        replacement="abs(now - session.last_used_at) <= grace:",
        tests=("tests/unit/test_rotation.py::test_a_presented_generation_gets_what_it_deserves",),
    ),
    Fault(
        name="the grace reaches one generation too far",
        heading=TOKENS,
        file="core/sessions/model.py",
        text="if presented == session.generation - 1 and",
        replacement="if presented >= session.generation - 2 and",
        tests=("tests/unit/test_rotation.py::test_a_presented_generation_gets_what_it_deserves",),
    ),
    Fault(
        name="the end of a reused session is not committed",
        heading=TOKENS,
        file="core/sessions/service.py",
        text="user_id=user.id, address=user.email))\n        work.commit()\n",
        replacement="user_id=user.id, address=user.email))\n",
        tests=("tests/contract/test_sessions.py::test_a_predecessor_after_the_grace_ends_the_session",),
    ),
    Fault(
        name="the doors' statuses are swapped",
        heading=TOKENS,
        file="api_flask/binding.py",
        text="return response_of(Answer.of(JSON, body, status=operation.status))",
        replacement="return response_of(Answer.of(JSON, body, status={200: 201, 201: 200}[operation.status]))",
        tests=(
            "tests/contract/test_signup.py::test_signup_answers_with_the_user_and_nothing_else",
            "tests/contract/test_login.py::test_login_gives_a_token_pair",
        ),
    ),
    Fault(
        name="the token of a letter is kept",
        heading=MAIL,
        file="core/mail/sql.py",
        text='canonical_email=None, address=None, facts={}, seed=b"", last_error=None',
        replacement="canonical_email=None, address=None, facts={}, last_error=None",
        tests=("tests/storage/test_outbox.py::test_a_sent_message_keeps_nothing_personal_and_is_never_due_again",),
    ),
    Fault(
        name="the address of a used link is kept",
        heading=MAIL,
        file="core/mail/sql.py",
        text='\n            .values(ended_at=at, used_at=at, address="")\n',
        replacement="\n            .values(ended_at=at, used_at=at)\n",
        tests=("tests/contract/test_email_change.py::test_no_new_address_is_kept_after_its_link",),
    ),
    Fault(
        name="a reset locks the token before its user",
        heading=MAIL,
        file="core/accounts/password_reset.py",
        text="work.users.lock(token.user_id)",
        replacement="pass",
        tests=(
            "tests/storage/test_races.py::test_who_uses_a_link_holds_nothing_for_which_the_holder_of_its_user_waits",
        ),
    ),
    Fault(
        name="a reader of mail verifies any account",
        heading=MAIL,
        file="core/accounts/email_verification.py",
        text="return principal is None or principal.user.id != user.id",
        replacement="return False",
        tests=("tests/contract/test_proof_of_an_address.py::test_needs_more_than_the_link",),
    ),
    Fault(
        name="whoever took an account over ends what undoes it",
        heading=MAIL,
        file="core/mail/model.py",
        text="REVOCABLE = tuple(purpose for purpose in Purpose if purpose is not Purpose.EMAIL_CHANGE_UNDO)",
        replacement="REVOCABLE = tuple(Purpose)",
        tests=("tests/contract/test_email_change_undo.py::test_works_whatever_was_done_to_the_account_since",),
    ),
    Fault(
        name="of two members of one name the last counts",
        heading=INPUT,
        file="core/strict_json.py",
        text="if len(members) != len(pairs):",
        replacement="if len(members) > len(pairs):",
        tests=("tests/contract/test_general_rules.py::test_what_is_not_strict_json_is_malformed",),
    ),
    Fault(
        name="two Authorization fields are one",
        heading=INPUT,
        file="core/http/edge/limits.py",
        text='for name in ("authorization", "content-type")):',
        replacement='for name in ("content-type",)):',
        tests=("tests/contract/test_general_rules.py::test_two_authorization_headers_are_malformed",),
    ),
    Fault(
        name="a message is called sent before it is",
        heading=PARTS,
        file="core/mail/worker.py",
        text="            self._mailer.send(self._renderer.write(letter))\n",
        replacement="            self._finish(message)\n            self._mailer.send(self._renderer.write(letter))\n",
        tests=("tests/live/test_smtp.py::test_mail_waits_while_nothing_listens_and_arrives_when_something_does",),
    ),
    Fault(
        name="a commit in doubt is done again",
        heading=PARTS,
        file="core/storage/retries.py",
        text="from core.errors import TransactionConflict\n",
        replacement="from core.errors import DatabaseUnavailable as TransactionConflict\n",
        tests=("tests/storage/test_conflicts.py::test_work_whose_commit_is_in_doubt_is_not_run_again",),
    ),
    Fault(
        name="a migration drops a column",
        heading=PARTS,
        file="migrations/versions/0005_audit_subject.py",
        text='    op.add_column("audit_events", sa.Column("subject", sa.String(64), nullable=True))\n',
        replacement='    op.add_column("audit_events", sa.Column("subject", sa.String(64), nullable=True))\n'
        '    op.drop_column("sessions", "user_agent")\n',
        tests=(
            "tests/migrations/test_revisions.py::test_a_process_of_an_older_version_writes_and_reads_on",
            "tests/migrations/test_schema.py::test_the_head_migration_leaves_no_drift",
        ),
    ),
    Fault(
        name="a client writes the address that the doors believe",
        heading=STACK,
        file="deploy/compose/proxy/server.conf",
        text="proxy_set_header X-Forwarded-For $remote_addr;",
        replacement="proxy_set_header X-Forwarded-For $http_x_forwarded_for;",
        tests=(
            "tests/deploy/test_stack_files.py::test_the_doors_are_told_the_address_that_the_proxy_sees_and_no_other",
        ),
    ),
    Fault(
        name="the containers may write",
        heading=STACK,
        file="docker-compose.yml",
        text="  read_only: true",
        replacement="  read_only: false",
        tests=("tests/deploy/test_stack_files.py::test_every_service_is_hardened",),
    ),
    Fault(
        name="long work of one caller is taken for a server that is away",
        heading=PARTS,
        file="core/sql_store.py",
        text="self._breaker.ask()",
        replacement="self._breaker.trip(reason_of(error))",
        tests=("tests/storage/test_deadlines.py::test_a_unit_of_work_that_takes_too_long_trips_nothing",),
    ),
    Fault(
        name="of a deleted account one batch of events is erased",
        heading=MAIL,
        file="core/accounts/deletion.py",
        text="            work.users.note_erased(account.id, until=events[-1])\n            return done\n",
        replacement="            pass\n",
        tests=("tests/storage/test_erasure.py::test_of_several_accounts_all_is_erased_in_one_run",),
    ),
    Fault(
        name="a failed statement is logged with its values",
        heading=SECRETS,
        file="core/storage/postgresql.py",
        text="        hide_parameters=True,\n    )\n    if settings.pooler:\n",
        replacement="    )\n    if settings.pooler:\n",
        tests=("lab/secrets/test_secrets_stay_inside.py::test_nobodys_address_was_written_down",),
    ),
    Fault(
        name="a secret that everybody may read is not told of",
        heading=SECRETS,
        file="core/settings/files.py",
        text="return mode if mode & stat.S_IROTH and not is_mounted else None",
        replacement="return mode if mode & stat.S_IWOTH and not is_mounted else None",
        tests=("tests/unit/test_settings.py::test_one_that_everybody_may_read_is_told_of",),
    ),
    Fault(
        name="a lock with an old PyJWT",
        heading=SECRETS,
        file="requirements/serve.txt",
        text="\npyjwt==",
        replacement="\npyjwt==0.",
        tests=("tests/unit/test_dependencies.py::test_no_lock_goes_below_a_version_with_a_known_hole",),
    ),
)
