"""Check codes of authenticator apps and recovery codes, unless too many wrong ones came before."""

from deeplens.common.ports import Clock
from deeplens.identity.model import User
from deeplens.identity.ports import SignInAttempts
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.second_factors.codes import recovery_digest, secret_of, step_of
from deeplens.identity.second_factors.ports import SecondFactors
from deeplens.identity.signing_keys import DerivationKey
from deeplens.identity.throttle import SignIn, SignInThrottled, counters_of
from deeplens.telemetry.security import security_event


class VerifyCode:
    """Whether a code is a user's; each works once."""

    def __init__(
        self,
        factors: SecondFactors,
        attempts: SignInAttempts,
        sign_in: SignIn,
        notify: NotifyCredentialChange,
        derivation_key: DerivationKey,
        clock: Clock,
    ) -> None:
        self._factors, self._attempts, self._sign_in, self._notify = factors, attempts, sign_in, notify
        self._key, self._clock = derivation_key, clock

    def __call__(self, user: User, code: str, host: str, mark: str, language: str) -> bool:
        """Use up a code of the user's app, or a recovery code.

        Parameters
        ----------
        host, mark : the network address and the device's cookie, as for passwords.
        language : of the mail about a code that was used before.

        Raises
        ------
        SignInThrottled
            Whatever the code.
        """
        device = self._sign_in.device_of(mark, user.email)
        counters = counters_of(f"second factor\0{user.id}", host, device)
        # Counted before the code is looked at: guesses at the same time get no more tries than one by one.
        if not self._attempts.count(counters, self._clock.now()):
            security_event("locked_out", user_id=user.id, known_device=device is not None)
            raise SignInThrottled
        method = self._method(user, code, language)
        if method is None:
            security_event("second_factor_failed", user_id=user.id, method="code")
            return False
        self._attempts.forgive(counters)
        security_event("second_factor_passed", user_id=user.id, tenant_id=user.tenant_id, method=method)
        return True

    def _method(self, user: User, code: str, language: str) -> str | None:
        user_id = user.id
        authenticator = self._factors.authenticator(user_id)
        if authenticator is not None:
            step = step_of(secret_of(self._key.derive, user_id, authenticator.enrolment), code, self._clock.now())
            if step is not None and self._factors.use_step(user_id, step):
                return "authenticator"
            if step is not None:
                # Somebody may have seen it: its owner is told.
                self._notify(user, "code-used-again", language)
        used = self._factors.use_recovery_code(user_id, recovery_digest(user_id, code), self._clock.now())
        return "recovery code" if used else None
