"""Processor cores and memory that this process may use, and the memory of GPUs."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of a container (cgroup version 2)."""


class GpuMemory(NamedTuple):
    """The memory of one GPU, in bytes."""

    free: int
    total: int


def count_cores(cgroup: Path = CGROUP) -> int:
    """The number of cores that this process may use: threads beyond them wait for each other."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed


def measure_free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this process may still allocate. Cached files count as free: the kernel drops them."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        if limit == "max":
            return free
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        cached = int(counts["active_file"]) + int(counts["inactive_file"])
        return max(0, min(free, int(limit) - int(used) + cached))
    except (OSError, ValueError, KeyError):
        return free


def measure_gpu_memory() -> list[GpuMemory]:
    """The memory of each GPU that llama.cpp can use.

    Source of the functions: ggml-backend.h; llama-cpp-python does not wrap them.
    """
    from llama_cpp._ggml import libggml

    gpu_types = 1, 2  # GGML_BACKEND_DEVICE_TYPE_GPU, and _IGPU, which shares the memory of the machine
    get_device, get_memory = libggml.ggml_backend_dev_get, libggml.ggml_backend_dev_memory
    get_device.restype, get_device.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    get_memory.restype, get_memory.argtypes = None, [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    get_type = libggml.ggml_backend_dev_type
    get_type.restype, get_type.argtypes = ctypes.c_int, [ctypes.c_void_p]
    count_devices = libggml.ggml_backend_dev_count
    count_devices.restype = ctypes.c_size_t
    memories = []
    for index in range(count_devices()):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if get_type(get_device(index)) in gpu_types:
            get_memory(get_device(index), ctypes.byref(free), ctypes.byref(total))
            memories.append(GpuMemory(free.value, total.value))
    return memories
