"""Where a student that has learned everything loses stability, for three rules.

Beyond the critical learning rate, deviations from the solution grow.  Feedback of 1/2 in place of a
readout of 1 makes it twice as large.
"""

import matplotlib.pyplot as plt
import numpy as np

from figures import finish, paper_style
from figures.style import rule_color, rule_label
from odes import OrderParameters, Teacher, critical_learning_rate, fixed_point

K = 2
B = np.full(K, 0.5)  # also the overlap of F with the teacher, since the student equals it
solution = OrderParameters(Q=np.eye(K), R=np.eye(K), v=np.ones(K), B=B)
teacher = Teacher(T=np.eye(K), v_star=np.ones(K), S=B)

rates = np.linspace(0.05, 6, 24)
with paper_style():
    _, ax = plt.subplots()
    for rule in ("bp", "fa", "afa"):
        critical = critical_learning_rate(solution, teacher, rule=rule, lr_v=0.0)
        growth = [
            fixed_point(solution, teacher, rule=rule, lr=lr, lr_v=0.0).escape_rate for lr in rates
        ]
        print(f"{rule}: stable up to lr = {critical:.4f}")
        color = rule_color(rule)
        ax.plot(rates, growth, "--" if rule == "afa" else "-", color=color, label=rule_label(rule))
        ax.plot(critical, 0, "o", color=color)
    ax.axhline(0, color="black", lw=0.6)
    ax.set(xlabel=r"learning rate $\eta_w$", ylabel="growth of deviations per unit of $t$")
    ax.set_ylim(-0.15, 0.4)
    ax.legend()
    finish(ax.figure).savefig("critical_learning_rate.png")
