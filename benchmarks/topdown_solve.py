"""The same problem as ``bare_scipy.py``, through :func:`odes.solve`.

python benchmarks/topdown_solve.py [K] [M] [t]
"""

import json
import sys
import time

import numpy as np
from bare_scipy import initial_state

from odes import OrderParameters, Teacher, solve

if __name__ == "__main__":
    K, M, t_end = (int(arg) for arg in sys.argv[1:4]) if len(sys.argv) > 3 else (2, 2, 1000)
    Q, R, T, v, v_star = initial_state(K, M)
    times = np.geomspace(0.1, t_end, 60)
    start = time.perf_counter()
    theory = solve(OrderParameters(Q, R, v), Teacher(T, v_star), rule="bp", lr=0.5, times=times)
    seconds = time.perf_counter() - start
    error = float(theory.generalization_error[-1])
    print(json.dumps({"integration": seconds, "generalization_error": error}))
