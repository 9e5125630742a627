"""Which processor this is: its maker, its name, and the instructions that speed depends on."""

import functools
import platform
from pathlib import Path

AMD, INTEL = "AuthenticAMD", "GenuineIntel"
CPUINFO = Path("/proc/cpuinfo")
# Instructions of the kernels of torch, onnxruntime and OpenVINO, as Linux names them.
TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def vendor() -> str:
    """:data:`AMD`, :data:`INTEL` or another; empty where the system does not say."""
    if platform.system() == "Linux":
        return _facts().get("vendor_id", "")
    return next((name for name in (AMD, INTEL) if name in platform.processor()), "")


def describe() -> str:
    """Such as ``AMD EPYC (x86_64; avx2, avx512f)``."""
    facts = _facts()
    flags = facts.get("flags", "").split()
    found = [flag for flag in TELLING if flag in flags]
    name = facts.get("model name") or platform.processor() or "CPU"
    return f"{name} ({'; '.join([platform.machine(), *([', '.join(found)] if found else [])])})"


@functools.cache
def _facts() -> dict[str, str]:
    """What Linux says of the first processor."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
