"""Results in files: netCDF, whole or absent, with what it takes to compute them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from odes.common.calls import call_of, decoded, encoded
from odes.common.checks import quoted
from odes.common.datasets import FORMAT, FORMAT_NUMBER, dataset_of
from odes.common.order_parameters import is_state

CALL, NETWORKS = "call", "networks"
"""Attributes that hold the call, and the networks at the end; long arrays of theirs are variables
whose names begin with "argument." and "networks."."""

SWEPT = {"generalization_error", "status"}
"""What every Dataset of a sweep has."""


def check_path(path: Any) -> Path:
    """``path`` as a Path; ValueError for what is none."""
    try:
        return Path(path)
    except TypeError:
        raise ValueError(
            f"Argument `path` must be the path of a file, but is {quoted(path)}."
        ) from None


def save(trajectory: Any, path: Any, networks: bool) -> None:
    """What :meth:`odes.Trajectory.save` does."""
    from odes.common.store import atomic  # imports more than a short script needs

    path = check_path(path)
    dataset = dataset_of(trajectory)
    arrays: dict[str, np.ndarray] = {}
    if trajectory.call is not None:
        dataset.attrs[CALL] = json.dumps(trajectory.call.record(arrays))
    if networks and trajectory.final is not None and not is_state(trajectory.final):
        kept = trajectory.final._replace(chain=None)
        dataset.attrs[NETWORKS] = json.dumps(encoded(kept, NETWORKS, arrays))
    dataset = dataset.assign(
        {
            name: (tuple(f"{name} {axis}" for axis in range(each.ndim)), each)
            for name, each in arrays.items()
        }
    )
    try:
        with atomic(path) as beside:
            dataset.to_netcdf(beside, engine="scipy")
    except OSError as error:
        raise ValueError(
            f"Argument `path` must be a file that can be written, but is {path}: {error}"
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `recorded` of a Trajectory must hold real numbers to be saved: {error}"
        ) from error


def read(path: Any) -> Any:
    """The Dataset in a file that :func:`save` wrote, or one of a sweep.

    Raises ValueError, which names the path, for a file that is neither, or cannot be read.
    """
    import xarray

    path = check_path(path)
    if not path.is_file():
        raise ValueError(f"Argument `path` must be the path of a file, but {path} is none.")
    wanted = "must be the path of a file of Trajectory.save(), or of a sweep"
    try:
        with path.open("rb") as file:
            classic = file.read(3) == b"CDF"
        dataset = xarray.load_dataset(path, engine="scipy" if classic else None)
    except Exception as error:  # whatever readers of foreign bytes raise
        raise ValueError(
            f"Argument `path` {wanted}, but {path} is damaged, or something else: {error}"
        ) from error
    number = dataset.attrs.get(FORMAT)
    swept = set(dataset.data_vars) >= SWEPT and "activation" in dataset.attrs
    if number is None and not (swept and "time" in dataset.coords):
        raise ValueError(f"Argument `path` {wanted}, but {path} holds other data.")
    if number is not None and number != FORMAT_NUMBER:
        raise ValueError(
            f"Argument `path` must be the path of a file of format {FORMAT_NUMBER}, but {path} is "
            f"of format {number}, which another version of this software wrote."
        )
    return dataset


def kept_in(dataset: Any) -> tuple[Any, Any]:
    """The call and the networks at the end that a Dataset has; None where it has none."""
    arrays = {name: variable.values for name, variable in dataset.data_vars.items()}
    call, networks = (
        json.loads(dataset.attrs[name]) if name in dataset.attrs else None
        for name in (CALL, NETWORKS)
    )
    return None if call is None else call_of(call, arrays), decoded(networks, arrays)
