"""Who needs a second factor, and what a sign-in misses."""

from collections.abc import Sequence

from deeplens.identity.model import Environment, User
from deeplens.identity.ports import Users
from deeplens.identity.second_factors.model import Factors, NextStep, next_step
from deeplens.identity.second_factors.ports import SecondFactors


class SecondFactorPolicy:
    """Decides from a user's factors, the tenant's requirement and the environment.

    Whoever has a second factor gives it at each sign-in. Platform administrators have to have one, except on the local
    stack.
    """

    def __init__(self, factors: SecondFactors, users: Users, environment: Environment) -> None:
        self._factors, self._users, self._environment = factors, users, environment

    def required(self, user: User, factors: Factors) -> bool:
        """Whether the user has to have a second factor."""
        return factors.tenant_requires or (user.tenant_id is None and self._environment != "local")

    def next_step(self, user: User, methods: Sequence[str]) -> NextStep | None:
        """What a sign-in by these methods needs before it is complete; None if nothing."""
        if (found := next_step(Factors(), tuple(methods), required=True)) is None:
            return found
        factors = self._factors.of(user.id)
        return next_step(factors, tuple(methods), self.required(user, factors))

    def expects_second_factor(self, user_id: str) -> bool:
        """Whether a user has a second factor, or has to have one."""
        user = self._users.find(user_id)
        return user is not None and self.next_step(user, ()) is not None
