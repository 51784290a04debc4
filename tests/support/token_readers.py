"""The service's reader of access tokens, with the key of a test's issuer in its ring."""

from __future__ import annotations

from core.settings.groups import TokenSettings
from core.sql_store import SqlStore
from core.tokens.access_tokens import AccessTokens
from core.tokens.key_material import Seal
from core.tokens.key_ring import KeyRing
from core.tokens.model import SigningKey
from tests.support.clock import START, FakeClock
from tests.support.issuer import AUDIENCE, Issuer


def service_reader(issuer: Issuer, store: SqlStore, clock: FakeClock) -> AccessTokens:
    """Trust an issuer's key on an empty store, as a ring trusts its own keys."""
    seal = Seal([bytes(32)])
    key = SigningKey(
        kid=issuer.signer.kid,
        number=1,
        algorithm=issuer.signer.algorithm,
        public_jwk=issuer.signer.jwk,
        sealed_private_key=seal.close(issuer.signer.key, issuer.signer.kid),
        created_at=START,
        activates_at=START,
    )
    with store.begin() as work:
        work.keys.add(key)
        work.commit()
    return AccessTokens(
        ring=KeyRing(store=store, clock=clock, seal=seal, settings=TokenSettings()),
        clock=clock,
        issuer=issuer.issuer,
        settings=TokenSettings(audiences=(AUDIENCE,)),
    )
