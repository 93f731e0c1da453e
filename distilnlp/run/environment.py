"""What a run depends on besides its recipe: versions, machine, seeds, git revision; and the precision it can have."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from distilnlp.run.plan import Plan

__all__ = ["choose_precision", "cpu_flags", "describe_environment", "library_versions"]

_LIBRARIES = ("distilnlp", "torch", "transformers", "accelerate", "datasets", "tokenizers", "peft", "numpy")
# What Linux calls bf16 arithmetic: x86 with AVX-512 or AMX, Arm.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def choose_precision(wanted: str) -> str:
    """``fp32``, ``bf16`` or ``fp16``; ``auto`` is bf16 where the hardware computes in it, else fp32.

    Raises:
        RequestError: fp16 without a GPU (its small numbers vanish without the scaling that a GPU's training does).
    """
    if wanted == "fp16" and not torch.cuda.is_available():
        raise RequestError("precision fp16 needs a CUDA device and there is none: use auto, bf16 or fp32")
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if cpu_flags() & _BF16_FLAGS else "fp32"


def cpu_flags() -> set[str]:
    """What the processor can, as Linux names it; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    listed = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return set(" ".join(listed).split())


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def describe_environment(plan: "Plan") -> dict[str, Any]:
    """The content of ``environment.json``."""
    return {
        "versions": library_versions(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"],
        },
        "precision": plan.precision,
        "seeds": {"data": plan.recipe.data.seed, **{name: stage.seed for name, stage in plan.stages.items()}},
        "git": _git_revision(),
    }


def _git_revision() -> dict[str, Any] | None:
    """The commit of the working directory and whether files differ from it; None outside a repository."""
    commands = (("git", "rev-parse", "HEAD"), ("git", "status", "--porcelain", "--untracked-files=no"))
    options = {"capture_output": True, "text": True, "timeout": 10, "check": True}
    try:
        commit, changes = (str(subprocess.run(command, **options).stdout) for command in commands)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "changed": bool(changes.strip())}
