"""Rules that feed the error back to the input, through F: AFA, and PEPITA with its variants."""

from __future__ import annotations

from odes.common.order_parameters import Array
from odes.rules.rule import Rule, Sample, Update


class AFA(Rule):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``B_ko = w_k . F_o / sqrt(N)``.

    The first order of PEPITA in the feedback.  F is fixed, but w_k moves and takes B along.  The
    theory is exact for aligned F; for a random F, B diffuses besides (``odes/solvers/paths.py``).
    """

    needs: tuple[str, ...] = ("B", "S")

    def feedback_drift(self, state, teacher, learning):
        xp = state.B.__array_namespace__()
        return {"B": learning.along(xp.concat([state.B, teacher.S], axis=-2), teacher.P)}


class PEPITA(AFA):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as presynaptic factor.

    The second pass sees ``x - F e`` and so the fields ``lambda - B e``:
    ``delta = h - h_err``, ``h_err = g(lambda - B e)``; readout ``h e^T``.
    """

    def update(self, sample):
        h_err = sample.g(sample.fields - sample.B @ sample.error)
        return Update(delta=sample.h - h_err, readout=sample.h[:, None] * sample.error)


class ModulatedPEPITA(AFA):
    """PEPITA as published: the second pass supplies the presynaptic factors of both layers.

    ``(h - h_err)(x - F e)^T``: delta as for PEPITA and ``gamma = -delta``; readout ``h_err e^T``.
    """

    needs = ("B", "S", "P")

    def update(self, sample):
        h_err = sample.g(sample.fields - sample.B @ sample.error)
        delta = sample.h - h_err
        return Update(delta, readout=h_err[:, None] * sample.error, gamma=-delta)


class HebbianPEPITA(AFA):
    """PEPITA-Hebbian (Srinivasan et al. 2024): ``h x^T - h_err (x - F e)^T``.

    Hence delta as for PEPITA and ``gamma = h_err``.  The readout sees its own prediction in the
    first pass and the label in the second: ``h prediction^T - h_err label^T``.
    """

    needs = ("B", "S", "P")

    def second_fields(self, sample: Sample) -> Array:
        """The fields of the second pass, (K,)."""
        return sample.fields - sample.B @ sample.error

    def update(self, sample):
        h_err = sample.g(self.second_fields(sample))
        readout = sample.h[:, None] * sample.prediction - h_err[:, None] * sample.label
        return Update(delta=sample.h - h_err, readout=readout, gamma=h_err)


class TimeLocalPEPITA(HebbianPEPITA):
    """Time-local PEPITA: the first pass takes its Hebbian step before the second pass is run.

    The second pass then sees ``lambda - B e - lr h |x|^2 / N``, where ``|x|^2 / N -> 1`` unless the
    inputs have a covariance.
    """

    def second_fields(self, sample):
        return super().second_fields(sample) - sample.lr * sample.mean_square * sample.h
