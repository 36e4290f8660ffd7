"""Rules that feed the error back to the input, through F: AFA, and PEPITA with its variants."""

from __future__ import annotations

from odes.common.layers import over_layers
from odes.common.order_parameters import Array
from odes.rules.rule import Rule, Sample, Update, differentiating


def second_pass(sample: Sample) -> Sample:
    """The sample as the second pass sees it, whose input is ``x - F e``."""
    return sample._replace(fields=sample.fields - sample.B @ sample.error)


def contrasts(sample: Sample) -> list[Array]:
    """``h_l - h_err,l`` of every hidden layer, between the two passes."""
    passes = zip(sample.activities, second_pass(sample).activities, strict=True)
    return [h - h_err for h, h_err in passes]


class AFA(Rule):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``B_ko = w_k . F_o / sqrt(N)``.

    The first order of PEPITA in the feedback.  F is fixed, but w_k moves and takes B along.  The
    theory is exact for aligned F; for a random F, B diffuses besides (``odes/solvers/paths.py``).

    In every layer the activities of the two passes differ to first order by their derivative along
    ``B e``: ``delta = g' (B e)``, and above it ``delta_l = g'(z_l) (V_l^T delta_{l-1})``.
    """

    references: tuple[str, ...] = ("srinivasan2024forward",)
    needs: tuple[str, ...] = ("B", "S")

    @differentiating
    def update(self, sample):
        import jax

        def activities(fields):
            return sample._replace(fields=fields).activities

        _, changes = jax.jvp(activities, (sample.fields,), (sample.B @ sample.error,))
        return Update(changes[0], sample.outer([*changes[1:], sample.error]))

    def feedback_drift(self, state, teacher, learning):
        xp = state.B.__array_namespace__()
        return {"B": learning.along(xp.concat([state.B, teacher.S], axis=-2), teacher.P)}


class PEPITA(AFA):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as presynaptic factor.

    The second pass sees ``x - F e`` and so the fields ``lambda - B e``:
    ``delta = h - h_err``, ``h_err = g(lambda - B e)``; readout ``h e^T``.  Every hidden layer
    learns by the difference of its activities in the two passes.
    """

    references = ("dellaferrera2022error", "srinivasan2024forward")

    def update(self, sample):
        deltas = contrasts(sample)
        return Update(deltas[0], sample.outer([*deltas[1:], sample.error]))


class ModulatedPEPITA(AFA):
    """PEPITA as published: the second pass supplies the presynaptic factors of both layers.

    ``(h - h_err)(x - F e)^T``: delta as for PEPITA and ``gamma = -delta``; readout ``h_err e^T``.
    """

    references = ("dellaferrera2022error", "srinivasan2024forward")
    needs = ("B", "S", "P")

    def update(self, sample):
        deltas = contrasts(sample)
        readout = second_pass(sample).outer([*deltas[1:], sample.error])
        return Update(deltas[0], readout, gamma=-deltas[0])


class HebbianPEPITA(AFA):
    """PEPITA-Hebbian (Srinivasan et al. 2024): ``h x^T - h_err (x - F e)^T``.

    Hence delta as for PEPITA and ``gamma = h_err``.  The readout sees its own prediction in the
    first pass and the label in the second: ``h prediction^T - h_err label^T``; a hidden layer above
    the first ``h_{l-1} h_l^T - h_err,{l-1} h_err,l^T``.
    """

    references = ("dellaferrera2022error", "srinivasan2024forward")
    needs = ("B", "S", "P")

    def second_fields(self, sample: Sample) -> Array:
        """The fields of the second pass, (K,)."""
        return second_pass(sample).fields

    def update(self, sample):
        second = sample._replace(fields=self.second_fields(sample))
        h, h_err = sample.activities, second.activities
        readout = over_layers(
            lambda first, then: first - then,
            sample.outer([*h[1:], sample.prediction]),
            second.outer([*h_err[1:], sample.label]),
        )
        return Update(h[0] - h_err[0], readout, gamma=h_err[0])


class TimeLocalPEPITA(HebbianPEPITA):
    """Time-local PEPITA: the first pass takes its Hebbian step before the second pass is run.

    The second pass then sees ``lambda - B e - lr h |x|^2 / N``, where ``|x|^2 / N -> 1`` unless the
    inputs have a covariance.  The step of the layers above is of order 1/N, and not seen.
    """

    def second_fields(self, sample):
        return super().second_fields(sample) - sample.lr * sample.mean_square * sample.h
