"""Want of memory is told from other errors, on every system and device."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from deepfeatures.errors import InputError, is_out_of_memory

CPU = "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: "


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1.10 GB)."),
        RuntimeError("Invalid buffer size: 19.38 GiB"),
        RuntimeError(f"{CPU}can't allocate memory: you tried to allocate 9 bytes. Error code 12"),  # Linux, macOS
        RuntimeError(f"{CPU}not enough memory: you tried to allocate 9 bytes."),  # Windows
        RuntimeError("itkImportImageContainer.hxx:192:\nFailed to allocate memory for image."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("bad allocation"),
    ],
)
def test_want_of_memory_is_recognised(error):
    assert is_out_of_memory(error)


def test_want_of_memory_is_recognised_where_it_really_happens():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 55, np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("unsupported memory format option Channels3D"),
        RuntimeError("required rank 4 tensor to use channels_last format"),
        RuntimeError("some elements of the input tensor and the written-to tensor refer to a single memory location"),
        OSError(errno.ENOSPC, "No space left on device"),
        InputError("not enough memory for a.nii.gz"),  # somebody has told it already
        KeyError("out of memory"),
    ],
)
def test_other_errors_that_speak_of_memory_are_not_want_of_it(error):
    assert not is_out_of_memory(error)
