"""/v1/admin/signing-keys: the keys that sign tokens, and the end of one that is compromised."""

from fastapi import APIRouter

from deeplens.access.caller import Operator
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.identity.key_plan import signer
from deeplens.identity.ports import StoredKeys
from deeplens.identity.revoke_signing_key import RevokeSigningKey
from deeplens.identity.schemas import SigningKeyView, SigningKeyViews

router = APIRouter(prefix="/v1/admin/signing-keys", tags=["platform"])


@router.get("", summary="Keys that sign tokens", responses=responses())
def list_signing_keys(_: Operator, rows: Injected[StoredKeys], clock: Injected[Clock]) -> SigningKeyViews:
    """In the order in which they sign. Revoked keys are listed until their private halves are deleted."""
    keys = rows.all()
    signing = signer(keys, clock.now())
    return SigningKeyViews(keys=[view(SigningKeyView, key, signing=key is signing) for key in keys])


@router.delete("/{kid}", status_code=204, summary="Revoke a compromised signing key", responses=responses(404))
def revoke_signing_key(_: Operator, revoke: Injected[RevokeSigningKey], kid: str) -> None:
    """Every token that it signed is refused within ten seconds; clients refresh, or sign their users in again."""
    if not revoke(kid):
        raise ApiError(404, "signing-key-not-found", "Signing key not found", f"There is no valid key {kid[:64]}.")
