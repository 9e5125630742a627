"""The checks of `benchmarks/gpu.py --check`: all on a GPU, small and interpreted on a CPU."""

import time

import pytest
import torch
from gpu_checks import CHECKS
from gpu_checks.check import compare, expect_fused_path
from processes import FOR_CHECKS, Setting, make_groups

SMALL = [
    pytest.param(name, marks=[] if check.cheap else pytest.mark.slow)
    for name, check in CHECKS.items()
]
HERE_S, ON_GPU_S = 3600, 1200


@pytest.mark.parametrize("name", SMALL)
def test_check_in_the_interpreter(interpreter, name):
    if reason := interpreter("gpu_check", name):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def gpu_rows(request):
    """A row for each check that is selected; a check that breaks the GPU ends its own process."""
    items = [item for item in request.session.items if item.originalname == "test_check_on_a_gpu"]
    names = [item.callspec.params["name"] for item in items]
    variables = FOR_CHECKS["cuda"]
    setting = Setting("cuda", time.time(), ON_GPU_S, 60, limit=120, variables=variables)
    return {row.name: row for row in make_groups(names, setting)}


@pytest.mark.gpu
@pytest.mark.parametrize("name", CHECKS)
def test_check_on_a_gpu(gpu_rows, name):
    row = gpu_rows[name]
    if row.state == "not run":
        pytest.skip(row.said)
    assert row.state == "passed", row.said


def test_names_are_groups_and_parts():
    for name, check in CHECKS.items():
        group, slash, part = name.partition("/")
        assert group and slash and part and check.name == name and " " not in name


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"y": torch.tensor([1.0, 2.1])}, "The y is off by 5.0e-02 of its largest value; 1.0e-02"),
        ({"y": torch.tensor([1.0, float("nan")])}, "off by nan"),
        ({"y": torch.tensor([[1.0, 2.0]])}, r"The y is \(1, 2\), not \(2,\)"),
        ({"z": torch.tensor([1.0, 2.0])}, "not .'y'."),
    ],
)
def test_results_that_differ_are_refused(found, reason):
    exact = {"y": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    compare({"y": torch.tensor([1.0, 2.01])}, exact, 1e-2)
    with pytest.raises(AssertionError, match=reason):
        compare(found, exact, 1e-2)


def test_twice_the_error_of_plain_torch_is_allowed_on_top():
    exact, plain = {"y": torch.tensor([2.0])}, {"y": torch.tensor([2.1])}
    compare({"y": torch.tensor([1.79])}, exact, 1e-2, plain)
    with pytest.raises(AssertionError, match="1.1e-01 is allowed"):
        compare({"y": torch.tensor([1.77])}, exact, 1e-2, plain)


def test_the_plain_path_is_not_taken_for_the_kernels():
    with pytest.raises(AssertionError, match="did not run here"), expect_fused_path():
        torch.zeros(2).add(1)
    with expect_fused_path(taken=False):
        torch.zeros(2).add(1)
