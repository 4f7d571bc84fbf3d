"""Which device computes, how precisely, and what it has left."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import torch

from deepfeatures.errors import InputError
from deepfeatures.matching.settings import DEVICES, PRECISIONS
from deepfeatures.networks.base import Encoder

CPU_BYTES = 2 << 30  # for features and encoding: with the volumes and PyTorch itself it stays well below 6 GiB
GPU_SHARE = 0.5  # of the free memory


def choose_device(name: str) -> torch.device:
    """The device of that name; for `"auto"` CUDA, else Metal, else the CPU.

    Raises:
        InputError: There is no such device here.
    """
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise InputError(f"There is no device {name!r}; choose one of {', '.join(DEVICES)}.")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if there[device]))
    if not there[kind]:
        raise InputError(f"This computer has no {kind} device that PyTorch can use; choose auto or cpu.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device, encoder: Encoder) -> str:
    """The precision of that name; for `"auto"` bfloat16 where the device has units for it and the network uses them.

    Raises:
        InputError: The name is unknown.
    """
    if name not in PRECISIONS:
        raise InputError(f"There is no precision {name!r}; choose one of {', '.join(PRECISIONS)}.")
    if name != "auto":
        return name
    convolves = next(encoder.parameters(), None) is not None
    return "bfloat16" if convolves and multiplies_bfloat16(device) else "float32"


def device_name(device: torch.device) -> str:
    """What the maker calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory_to_use(device: torch.device) -> int:
    """Bytes that features and encoding may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE)
    return CPU_BYTES


def peak_bytes(device: torch.device) -> dict[str, int]:
    """The most memory used so far: by the whole process where the system is_sufficient, and on the GPU."""
    peak = {}
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has units for bfloat16: elsewhere it saves memory but no time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # PyTorch older than 2.6 does not tell: `bool` in their place says no.
        told = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, name, bool)() for name in told)
    return False
