"""The processor's maker and name, as the systems tell them."""

import platform

import pytest

from convnext_dense import processor

LINUX = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.80GHz
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_vnni_of_another

processor\t: 1
vendor_id\t: another
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """The file that Linux has; removed, it is another system's."""
    path = tmp_path / "cpuinfo"
    path.write_text(LINUX)
    monkeypatch.setattr(processor, "CPUINFO", path)
    processor._facts.cache_clear()
    yield path
    processor._facts.cache_clear()


def test_linux_says_maker_name_and_instructions(cpuinfo, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert processor.vendor() == processor.INTEL
    name = "Intel(R) Xeon(R) Processor @ 2.80GHz"
    assert processor.describe() == f"{name} (x86_64; avx2, avx512f, avx512_vnni)"


def test_other_systems(cpuinfo, monkeypatch):
    cpuinfo.unlink()
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(platform, "processor", lambda: f"AMD64 Family 25, {processor.AMD}")
    assert processor.vendor() == processor.AMD
    assert processor.describe() == f"AMD64 Family 25, {processor.AMD} (AMD64)"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor.vendor() == "" and processor.describe() == "CPU (AMD64)"
