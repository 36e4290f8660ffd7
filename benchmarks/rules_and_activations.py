"""How averages are taken for every rule and activation, how good they are, and what they cost.

Prints the table of docs/averages.md: "closed"; "exact", where few nodes average polynomials; or the
largest error that `solve` states by default, K = M = 2, up to t = 5 from three networks; and how
many times as long that takes as backpropagation with erf, in processor time after a first solution,
the two in turn.  The last column is what solve is for a random F.

    python benchmarks/rules_and_activations.py
"""

import time
import warnings

from odes import RULES, solve
from odes.averages.activations import ACTIVATIONS
from odes.averages.nodes import is_polynomial
from odes.problem import has_closed_form
from simulations import RULES as ALGORITHMS
from simulations import sample_network

NAMES = ("erf", "linear", "tanh", "relu")
SEEDS = (0, 1, 2)
REPEATS = 3


def solved(rule, activation, seed):
    """A solution, and the processor time that it took."""
    network = sample_network(N=200, K=2, M=2, student_scale=0.5, seed=seed)
    start = time.process_time()
    curve = solve(
        *network.overlaps(rule), rule=rule, activation=activation, lr=0.3, rtol=1e-6,
        times=[1.0, 5.0],
    )  # fmt: skip
    return curve, time.process_time() - start


def kind(rule, activation):
    """How averages are taken."""
    if has_closed_form(RULES[rule], ACTIVATIONS[activation]):
        return "closed"
    return "exact" if is_polynomial(RULES[rule], ACTIVATIONS[activation]) else "nodes"


def entry(rule, activation):
    """The error that is stated, and the time relative to that of backpropagation."""
    error = max(solved(rule, activation, seed)[0].average_error for seed in SEEDS)
    own, reference = (
        min(seconds)
        for seconds in zip(
            *((solved(*case, 0)[1] for case in ((rule, activation), ("bp", "erf")))
              for _ in range(REPEATS)),
            strict=True,
        )
    )  # fmt: skip
    return f"{error:.0e}, {own / reference:.0f}"


def with_random_feedback(rule):
    """What solve is for a random F."""
    if ALGORITHMS[rule].aligned_only:
        return "refused"
    return "leading order" if "S" in RULES[rule].needs else "no F"


def main():
    warnings.simplefilter("ignore", RuntimeWarning)
    print("| rule | " + " | ".join(NAMES) + " | random F |")
    print("|---|" + "---|" * (len(NAMES) + 1))
    for rule in RULES:
        cells = []
        for activation in NAMES:
            how = kind(rule, activation)
            cells.append(entry(rule, activation) if how == "nodes" else how)
        print(
            f"| `{rule}` | " + " | ".join(cells) + f" | {with_random_feedback(rule)} |", flush=True
        )


if __name__ == "__main__":
    main()
