"""Run lengths of masks on the host and on the masks' device are pycocotools' own."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from convnext_dense.detection import rle
from convnext_dense.detection.rle import encode_masks, run_lengths_on_device, run_lengths_on_host

SIZES = [(1, 1), (1, 9), (9, 1), (2, 2), (31, 17), (40, 60)]


def drawn(height: int, width: int) -> np.ndarray:
    """Masks (40, height, width), sparse to full, with every border and corner that matters."""
    rng = np.random.default_rng(0)
    some = rng.random((40, height, width)) < rng.random((40, 1, 1)) ** 2
    some[0], some[1] = False, True  # nothing, everything
    some[2:8] = False
    some[2, :, 0] = some[3, :, -1] = some[4, 0] = some[5, -1] = True  # whole borders
    some[6, 0, 0] = some[7, -1, -1] = True
    some[-1], some[-2] = False, True  # nothing after everything
    return some


def by_pycocotools(masks: np.ndarray) -> list[dict]:
    fortran = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    return [{**r, "counts": r["counts"].decode()} for r in mask_api.encode(fortran)]


def by_device_runs(monkeypatch, chunk_pixels: int):
    """encode_masks as on a GPU, on the CPU."""
    monkeypatch.setattr(
        rle,
        "run_lengths_on_host",
        lambda masks: run_lengths_on_device(torch.from_numpy(masks), chunk_pixels),
    )


@pytest.mark.parametrize("kind", ["tensor", "bool", "uint8"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_masks_are_encoded_as_pycocotools_does(kind, size):
    some = drawn(*size)
    masks = {"tensor": torch.from_numpy(some), "bool": some, "uint8": some.astype(np.uint8)}
    assert encode_masks(masks[kind]) == by_pycocotools(some)


# In masks: less than one, one, three and a bit (40 leave one over), all, more than all.
@pytest.mark.parametrize("chunk", [0.5, 1, 3.5, 40, 1000])
@pytest.mark.parametrize("values", [bool, np.uint8])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_devices_runs_are_encoded_as_pycocotools_does(monkeypatch, size, values, chunk):
    some = drawn(*size)
    by_device_runs(monkeypatch, int(chunk * some[0].size))
    assert encode_masks(torch.from_numpy(some.astype(values) * values(1))) == by_pycocotools(some)


def test_any_value_but_zero_is_one():
    some = drawn(8, 5)
    values = some * np.random.default_rng(1).integers(1, 256, some.shape, dtype=np.uint8)
    for runs in (run_lengths_on_device(torch.from_numpy(values)), run_lengths_on_host(values)):
        for found, expected in zip(runs, run_lengths_on_host(some), strict=True):
            assert np.array_equal(found, expected) and found.sum() == 40


def test_masks_that_are_parts_of_others_are_left_alone():
    whole = torch.from_numpy(drawn(12, 10))
    before = whole.clone()
    for part in (whole[:, ::2, 1:8], whole.transpose(1, 2), whole[5:6, :1], whole[:, :, :1]):
        found = run_lengths_on_device(part)
        for one, other in zip(found, run_lengths_on_host(part.numpy()), strict=True):
            assert np.array_equal(one, other)
    assert torch.equal(whole, before)


@pytest.mark.parametrize("masks", [torch.zeros(0, 20, 30), np.zeros((0, 20, 30), bool)])
def test_no_masks(masks):
    assert encode_masks(masks) == []


def test_masks_survive_encoding():
    masks = torch.rand(3, 20, 30) > 0.5
    encoded = encode_masks(masks)
    decoded = mask_api.decode([{**r, "counts": r["counts"].encode()} for r in encoded])
    assert np.array_equal(decoded.transpose(2, 0, 1).astype(bool), masks.numpy())


@pytest.mark.gpu
@pytest.mark.parametrize("size", [*SIZES, (480, 640)], ids=str)
def test_on_a_gpu_only_runs_come_to_the_host(monkeypatch, size):
    some = drawn(*size)
    masks = torch.from_numpy(some).cuda()
    monkeypatch.setattr(rle, "run_lengths_on_host", None)  # not called
    assert encode_masks(masks) == encode_masks(masks.byte()) == by_pycocotools(some)
    monkeypatch.setattr(rle, "CHUNK_PIXELS", 1)
    assert encode_masks(masks[:0]) == []
