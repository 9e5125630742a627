"""Features put aside come back bit by bit, and no more than the bound stays in memory."""

import errno

import pytest
import torch

from convnext_dense.detection import feature_store
from convnext_dense.detection.feature_store import FeatureStore
from convnext_dense.errors import UserError


def pyramid(seed: int, dtype=torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(1, 4, s, s + 1, generator=generator).to(dtype) for s in (8, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("views_in_memory", [0, 2, 5])
def test_maps_come_back(dtype, views_in_memory):
    views = [pyramid(seed, dtype) for seed in range(5)]
    views[1] = tuple(m.to(memory_format=torch.channels_last) for m in views[1])
    size = sum(m.nbytes for m in views[0])
    with FeatureStore(views_in_memory * size) as store:
        numbers = [store.put(view) for view in views]
        assert store.used == views_in_memory * size
        for number in (3, 0, 4, 2, 1, 3):  # any order, also twice
            for found, put in zip(store.get(numbers[number]), views[number], strict=True):
                assert torch.equal(found, put) and found.dtype == dtype


def test_parts_of_a_larger_tensor_count_with_all_that_they_keep():
    whole = torch.randn(3, 4, 8, 9)
    with FeatureStore(whole.nbytes) as store:
        store.put((whole[:1], whole[1:2]))
        assert store.used == whole.nbytes
        store.put((torch.zeros(1),))
        assert store.used == whole.nbytes  # the bound is reached: this went to the file
        assert store.get(1)[0] == 0


def test_a_full_disk_is_one_sentence(monkeypatch):
    class Full:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(feature_store.tempfile, "TemporaryFile", Full)
    with pytest.raises(UserError, match="No space left.*TMPDIR"), FeatureStore(0) as store:
        store.put(pyramid(0))
