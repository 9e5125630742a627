"""Each kind of mending alone and with others: the truth stays, and what is mended is said."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.coco.find_images import missing_images
from convnext_dense.data.mending.mend import mend, refuse_mended
from convnext_dense.errors import UserError
from tests.mending.damages import CLASSES, DAMAGES, FAMILIES, damaged, sound, truth

SOUND = {"dots", "compressed", "uncompressed"}  # are read as they are


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def content(folder) -> dict:
    return sound(folder)


def test_a_sound_file_is_used_as_it_is(folder, content):
    assert mend(content, "x.json", folder) == (content, [])
    assert mend(content, "x.json", folder, CLASSES).content is content


@pytest.mark.parametrize("name", DAMAGES)
def test_each_kind_keeps_the_truth(folder, content, name):
    wrong = damaged(content, [name])
    before = copy.deepcopy(wrong)
    mended = mend(wrong, "x.json", folder)
    assert str(wrong) == str(before) != str(content)
    assert bool(mended.rows) != (name in SOUND)
    assert truth(mended.content) == truth(content)
    check_coco("x.json", mended.content)
    assert mended.content["info"] == {}
    if name in SOUND:
        return
    with pytest.raises(UserError, match=r"--strict\): [\d,]+ "):
        refuse_mended("x.json", mended.rows)


@settings(max_examples=150, deadline=None)
@given(st.tuples(*(st.sampled_from([None, *family]) for family in FAMILIES)))
def test_kinds_together_keep_the_truth(folder, content, names):
    names = [name for name in names if name]
    mended = mend(damaged(content, names), "x.json", folder)
    check_coco("x.json", mended.content)
    assert not missing_images(str(folder), [i["file_name"] for i in mended.content["images"]])
    exact = {"no_boxes", "flat_boxes"}.isdisjoint(names)  # else boxes may be made of pixels
    if exact:
        assert truth(mended.content) == truth(content)
    again = mend(mended.content, "x.json", folder)
    assert again.rows == []
