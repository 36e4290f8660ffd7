"""What the machine at hand has: devices, processors, memory.  Importing this imports JAX."""

from __future__ import annotations

import os
from typing import NamedTuple

import jax

from odes.common.chunks import processors


class Machine(NamedTuple):
    """Where numbers are computed."""

    kind: str  # "cpu", "gpu", ... as JAX says it
    devices: int
    cores: int  # processors of this process
    memory: int  # bytes of a device

    @property
    def threads(self) -> int:
        """How many threads are to use it: one a processor, or one a device."""
        return self.cores if self.kind == "cpu" and self.devices == 1 else self.devices

    @property
    def callers(self) -> int:
        """How many threads may call, side by side, code that uses all devices."""
        return self.cores if self.kind == "cpu" and self.devices == 1 else 1

    def with_less_memory(self) -> Machine:
        """As if half of the memory were not there."""
        return self._replace(memory=self.memory // 2)


def this_machine() -> Machine:
    """All devices that JAX sees in this process."""
    devices = jax.local_devices()
    stats = devices[0].memory_stats() or {}
    memory = stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(devices[0].platform, len(devices), processors(), memory)


def ran_out_of_memory(error: Exception) -> bool:
    """Whether a device had no room for what it was to compute."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
