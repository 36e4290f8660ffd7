"""Learning rules with a closed theory: which feedback signal B each one sends back.

They share one update of the first layer,

    w_k <- w_k - lr / sqrt(N) * delta_k x,        delta_k = g'(lambda_k) sum_o B_ko e_o,

and differ in B alone.  The same rules acting on the weights of a network are in
``simulations/rules.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from odes.order_parameters import Array, OrderParameters, Teacher


class Rule:
    """A rule says what B is and how it moves; unless it says otherwise, B is a constant of motion.

    ``needs`` names the overlaps that a caller must supply beyond Q, R, v, T and v_star.
    """

    needs: tuple[str, ...] = ("B",)

    def feedback(self, state: OrderParameters) -> Array:
        """The feedback signal B, shape (K, O)."""
        return state.B

    def feedback_drift(
        self, state: OrderParameters, teacher: Teacher, along: Callable[[Array], Array]
    ) -> Array | None:
        """dB/dt, shape (K, O), or None where B is constant.

        ``along(u)`` is ``d(w_k . u / N) / dt`` for directions u in input space, given by their
        overlaps with all units, (K + M, number of directions), students first.
        """
        return None


class BP(Rule):
    """Backpropagation: ``B_ko = v_ko``, the weights of the way forward."""

    needs = ()

    def feedback(self, state):
        return state.v


class FA(Rule):
    """Feedback alignment (Lillicrap et al. 2016): ``B_ko`` fixed and random.

    With one hidden layer this is also direct feedback alignment (Noekland 2016).
    """


class AFA(Rule):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``B_ko = w_k . F_o / sqrt(N)``.

    The first order of PEPITA in the feedback.  F is fixed, but w_k moves and takes B along.  The
    theory is exact for aligned F; for a random F, B diffuses besides (``order_parameters.py``).
    """

    needs = ("B", "S")

    def feedback_drift(self, state, teacher, along):
        xp = state.B.__array_namespace__()
        return along(xp.concat([state.B, teacher.S]))


RULES = {"bp": BP(), "fa": FA(), "afa": AFA()}
