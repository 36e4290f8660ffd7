"""Arrays on disk: files that are whole or absent, and directories of work that can be resumed."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import json
import os
import pickle
import platform
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from filelock import FileLock, Timeout

from odes.common.checks import quoted

Arrays = dict[str, np.ndarray]

PACKAGES = ("numpy", "scipy", "jax", "jaxlib", "diffrax")
"""What the numbers depend on, besides our own code."""

LOCK = ".lock"
HALF_WRITTEN = (".chunk-*.npz", ".checkpoint-*.npz", ".manifest-*.json")
"""What a process that is killed while it writes leaves behind, and the next one removes."""

KINDS = ("arguments", "layout", "software")
"""What a manifest holds."""

ROOT = Path(__file__).parents[2]
"""Where the packages are."""

MAX_LISTED = 64
"""Arrays of more entries enter a manifest by their hash."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when all went well and vanishes otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Arrays as an .npz, whole or not at all."""
    with atomic(path) as beside:
        np.savez_compressed(beside, **cast(dict[str, Any], arrays))


def load_arrays(path: Path) -> Arrays | None:
    """What :func:`save_arrays` wrote; None if it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file) as data:
            return dict(data)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


@contextmanager
def open_store(
    path: Any, arguments: dict[str, Any], layout: dict[str, Any]
) -> Iterator[Path | None]:
    """The directory ``path`` for work with these arguments, for this process alone; None for None.

    ``layout`` is what else the files depend on.

    It is made, or found as earlier work with the same arguments and software left it.  A manifest
    in it says which; a lock, which the system releases when the process dies, keeps others out.

    Raises ValueError for a path that cannot be written, is in use, or holds something else.
    """
    if path is None:
        yield None
        return
    try:
        path = Path(path)
    except TypeError:
        raise ValueError(
            f"Argument `path` must be a path or None, but is {quoted(path)}."
        ) from None
    wanted = json.loads(json.dumps([describe(arguments), describe(layout), software()]))
    wanted = dict(zip(KINDS, wanted, strict=True))
    manifest = path / "manifest.json"
    if not _is_ours(path):
        raise ValueError(
            "Argument `path` must be a new or empty directory, or one with the results of the same "
            f"call, but {path} holds other files."
        )
    lock = FileLock(path / LOCK, timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"Argument `path` must not be in use, but another process works in {path}."
        ) from None
    except OSError as error:
        raise ValueError(
            f"Argument `path` must be a directory that can be written, but is {path}: {error}"
        ) from error
    try:
        if manifest.exists():
            _compare(path, json.loads(manifest.read_text()), wanted)
        for pattern in HALF_WRITTEN:
            for entry in path.glob(pattern):
                entry.unlink()
        if not manifest.exists():
            with atomic(manifest) as beside:
                beside.write_text(json.dumps(wanted, indent=2) + "\n")
        yield path
    finally:
        lock.release()


def _is_ours(path: Path) -> bool:
    """Whether the directory is new or empty, or has a manifest of ours."""
    if not path.is_dir():
        return True  # to be made, or refused by the system
    try:
        return set(KINDS) <= set(json.loads((path / "manifest.json").read_text()))
    except FileNotFoundError:
        left = [path / LOCK, *(entry for pattern in HALF_WRITTEN for entry in path.glob(pattern))]
        return set(path.iterdir()) <= set(left)
    except (ValueError, TypeError):
        return False


def _compare(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """ValueError that names the first argument, part of the layout or version that differs."""
    for kind in KINDS:
        for name in {**wanted[kind], **found[kind]}:
            old, new = found[kind].get(name), wanted[kind].get(name)
            if old != new:
                raise ValueError(
                    "Argument `path` must be a new or empty directory, or one with the results of "
                    f"the same call, but {path} has other {kind}: `{name}` was {old}, and is {new}."
                )


def describe(value: Any) -> Any:
    """A value as JSON has it: long arrays, and objects, by a hash."""
    if isinstance(value, np.ndarray) and value.size > MAX_LISTED:
        return {"shape": list(value.shape), "sha256": hashlib.sha256(value.tobytes()).hexdigest()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, "_asdict"):
        return describe(value._asdict())
    if isinstance(value, dict):
        return {name: describe(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(part) for part in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    pickled, sources = pickled_for("path", value, "be recognised when the work goes on")
    code = hashlib.sha256(pickled)
    for source in sources:
        code.update(source.encode())
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return {"object": name, "sha256": code.hexdigest()}


class _Sources(pickle.Pickler):
    """Notes the source of the functions and classes that a pickle refers to by name."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.sources: list[str] = []

    def reducer_override(self, value: Any) -> Any:
        for part in inspect.getmro(value) if isinstance(value, type) else (value,):
            with contextlib.suppress(OSError, TypeError):  # built in, or not from a file
                self.sources.append(inspect.getsource(part))
        return NotImplemented


def pickled_for(argument: str, value: Any, purpose: str) -> tuple[bytes, list[str]]:
    """``value`` pickled, and the sources of functions and classes that it refers to.

    Raises ValueError if it is, or holds, what cannot be imported elsewhere.
    """
    file = io.BytesIO()
    pickler = _Sources(file)
    try:
        pickler.dump(value)
        return file.getvalue(), pickler.sources
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"Argument `{argument}` must be None with functions or objects that cannot be "
            f"imported, since they cannot {purpose}: {error}"
        ) from error


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on, and of further ones."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in (*PACKAGES, *packages)
    }


def software() -> dict[str, str]:
    """Versions, and a hash of our own code."""
    code = hashlib.sha256()
    for package in ("odes", "simulations"):
        for source in sorted((ROOT / package).rglob("*.py")):
            code.update(source.read_bytes())
    return {**versions(), "code": code.hexdigest()}
