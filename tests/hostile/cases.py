"""Random datasets: COCO files with their images, label images, class folders."""

import json
import random
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_api

from tests.hostile import files

NAMES = ["ant", "Käse", "日本語", "a b", "🦋", "x" * 80, "a/b", "%s", "{0}", "\u202eabc", "[red]x"]
IDS = [0, -1, 1, 2**31, 2**31 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30]
FILES = [
    "a.jpg",
    "Ä ö.jpg",
    "sub/b.png",
    "c d.tif",
    "#1?.jpg",
    "写真.jpg",
    "e.JPG",
    "f",
    "'g\".jpg",
]
SHAPES = ("polygon", "polygon", "polygon", "rle", "uncompressed", "none", "crowd")
BOXES = ("inside", "inside", "inside", "pixel", "whole", "outside", "zero", "half out", "tiny",
         "negative", "nan", "huge")  # fmt: skip
OTHER_ENCODINGS = ("utf-16", "utf-32-be", "cp1252", "gb18030")
ACCIDENTS = ("fractions", "renamed", "turned")  # those that are refused, or cannot be told
good_boxes = st.sampled_from(BOXES[:5])

annotations = st.fixed_dictionaries({
    "box": st.one_of(good_boxes, good_boxes, good_boxes, st.sampled_from(BOXES)),
    "place": files.seeds,
})  # fmt: skip
pictures = st.fixed_dictionaries({
    "kind": files.whole,
    "size": files.sizes,
    "damage": st.one_of(*[st.none()] * 9, files.damages),
    "annotations": st.lists(annotations, max_size=3),
    "many": st.sampled_from([0] * 60 + [1000]),
    "seed": files.seeds,
    "wrong size": st.sampled_from([False] * 15 + [True]),
})  # fmt: skip
coco = st.fixed_dictionaries({
    "calm": st.sampled_from([True, True, False]),  # odd, but nothing is wrong
    "pictures": st.lists(pictures, min_size=1, max_size=3),
    "classes": st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    "ids": st.sampled_from([None] * 3 + IDS),
    "shape": st.sampled_from(SHAPES),
    "names": st.sampled_from([False, False, True]),
    "encoding": st.sampled_from(["utf-8"] * 8 + ["utf-8-sig"] * 4 + list(OTHER_ENCODINGS)),
    "accident": st.sampled_from([None] * 12 + ["listed twice", "repeated", *ACCIDENTS]),
})  # fmt: skip
mutations = st.fixed_dictionaries({
    "seed": files.seeds,
    "times": st.sampled_from([1, 1, 1, 1, 2, 5]),
    "how": st.sampled_from(["entries"] * 6 + ["cut", "bytes"]),
    "shape": st.sampled_from(["polygon", "rle", "none"]),
})  # fmt: skip


def write_coco(case: dict, folder: Path) -> None:
    """``all.json`` and ``images/``."""
    (folder / "images").mkdir(parents=True)
    if case["calm"]:
        case = calmed(case)
    images, found = [], []
    first = case["ids"] or 1
    for number, picture in enumerate(case["pictures"]):
        name = FILES[(picture["seed"] + number) % len(FILES)] if case["names"] else "a.jpg"
        name = str(Path(name).with_name(f"{number} {Path(name).name}"))
        (folder / "images" / name).parent.mkdir(exist_ok=True)
        files.write(
            folder / "images" / name, picture["kind"], picture["size"], picture["damage"],
            picture["seed"],
        )  # fmt: skip
        width, height = files.shown_size(picture["kind"], picture["size"])
        if picture["wrong size"]:
            width, height = height + 1, width
        identity = first + number
        images.append(dict(id=identity, file_name=name, width=width, height=height))
        ones = picture["annotations"] * (picture["many"] or 1)
        for one in ones:
            found.append(_annotation(one, case["shape"], width, height, len(case["classes"])))
            found[-1].update(id=first + len(found), image_id=identity)
    categories = [dict(id=first + i, name=name) for i, name in enumerate(case["classes"])]
    for one in found:
        one["category_id"] += first
    content = dict(images=images, annotations=found, categories=categories)
    if case["accident"]:
        _befall(content, case["accident"])
    text = json.dumps(content, ensure_ascii=False)
    (folder / "all.json").write_bytes(text.encode(case["encoding"], "replace"))


def _befall(content: dict, accident: str) -> None:
    """What tools that write annotation files do to them."""
    images, found = content["images"], content["annotations"]
    first = images[0]
    new = max(one["id"] for one in [*images, *found]) + 1
    if accident == "listed twice":
        images.append(dict(first, id=new))
    elif accident == "repeated" and found:
        found.append(dict(found[0], id=new))
    elif accident == "renamed":
        first["file_name"] = f"C:\\set\\{first['file_name'].upper()}"
    elif accident == "turned":
        first["width"], first["height"] = first["height"], first["width"]
    elif accident == "fractions":
        sizes = {one["id"]: (one["width"], one["height"]) * 2 for one in images}
        for one in found:
            sides = zip(one["bbox"], sizes[one["image_id"]], strict=True)
            one["bbox"] = [value / side for value, side in sides]


def calmed(case: dict) -> dict:
    """The case without what must be refused."""
    calm = []
    for number, picture in enumerate(case["pictures"]):
        kind = "16 bit tif" if picture["kind"] == "float tif" else picture["kind"]
        size = tuple(min(max(side, 8), 60) for side in picture["size"])
        ones = [
            dict(one, box=one["box"] if one["box"] in ("inside", "whole") else "inside")
            for one in picture["annotations"]
        ]
        if number == 0 or ones:  # something to train on
            ones.append(dict(box="whole", place=number))
        changes = {"damage": None, "wrong size": False, "annotations": ones}
        calm.append({**picture, **changes, "kind": kind, "size": size})
    ids = case["ids"] if case["ids"] is None or -1 <= case["ids"] < 2**62 else 2**62
    shape = "rle" if case["shape"] == "crowd" else case["shape"]
    changes = dict(pictures=calm, ids=ids, shape=shape)
    if case["encoding"] in OTHER_ENCODINGS:
        changes["encoding"] = "utf-8-sig"
    if case["accident"] in ACCIDENTS:
        changes["accident"] = None
    return {**case, **changes}


def _annotation(one: dict, shape: str, width: int, height: int, classes: int) -> dict:
    draw = random.Random(one["place"])
    x, y = draw.randrange(width), draw.randrange(height)
    w, h = draw.randint(1, width - x), draw.randint(1, height - y)
    nan = float("nan")
    x, y, w, h = {
        "inside": (x, y, w, h),
        "pixel": (x, y, 1, 1),
        "whole": (0, 0, width, height),
        "outside": (width + 5, y, 3, 3),
        "zero": (x, y, 0, h),
        "half out": (x, y, w + width, h),
        "tiny": (x, y, 1e-6, 1e-6),
        "negative": (x, y, -w, -h),
        "nan": (x, nan, w, h),
        "huge": (x, y, 1e30, 1e30),
    }[one["box"]]
    crowd = shape == "crowd" or shape == "rle" and one["box"] != "whole" and draw.random() < 0.2
    found = dict(bbox=[x, y, w, h], area=w * h, iscrowd=int(crowd))
    found["category_id"] = draw.randrange(classes)
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    mask = np.zeros((height, width), np.uint8, order="F")
    if one["box"] in BOXES[:5]:
        mask[y : y + h, x : x + w] = 1
    if shape == "polygon":
        found["segmentation"] = [polygon]
    elif shape in ("rle", "crowd"):
        rle = mask_api.encode(mask)
        found["segmentation"] = dict(size=rle["size"], counts=rle["counts"].decode())
    elif shape == "uncompressed":
        flat = mask.ravel(order="F")
        ends = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *ends.tolist(), len(flat)]).tolist()
        counts = [0, *counts] if flat[0] else counts
        found["segmentation"] = dict(size=[height, width], counts=counts)
    return found


VALID = dict(
    calm=False,
    classes=["ant", "bee"],
    ids=None,
    names=False,
    encoding="utf-8",
    accident=None,
    pictures=[
        {
            "kind": "jpg",
            "size": (30 + 4 * n, 40),
            "damage": None,
            "annotations": [dict(box="inside", place=n), dict(box="inside", place=n + 9)],
            "many": 0,
            "seed": n,
            "wrong size": False,
        }
        for n in range(3)
    ],
)


def write_mutated_coco(case: dict, folder: Path) -> None:
    """A good COCO file after an accident."""
    write_coco(dict(VALID, shape=case["shape"]), folder)
    path = folder / "all.json"
    draw = random.Random(case["seed"])
    text = path.read_text()
    if case["how"] == "entries":
        text = json.dumps(files.mutate(json.loads(text), draw, case["times"]))
    elif case["how"] == "cut":
        text = text[: draw.randrange(len(text))]
    data = text.encode()
    path.write_bytes(
        files.damage(data, "flipped", case["seed"]) if case["how"] == "bytes" else data
    )


LABEL_MODES = ("L", "L", "L", "P", "RGB", "RGBA", "I;16", "I", "F", "1", "LA")
label_pictures = st.fixed_dictionaries({
    "kind": files.whole,
    "size": files.sizes,
    "damage": st.one_of(*[st.none()] * 9, files.damages),
    "mode": st.sampled_from(LABEL_MODES),
    "values": st.sampled_from(
        ["classes"] * 6 + ["ignored", "beyond", "any", "one", "fractions", "mask"]
    ),
    "label damage": st.one_of(*[st.none()] * 9, files.damages),
    "other size": st.sampled_from([False] * 12 + [True]),
    "seed": files.seeds,
})  # fmt: skip
_labels = st.fixed_dictionaries({
    "pictures": st.lists(label_pictures, min_size=2, max_size=3),
    "classes": st.sampled_from(
        ["ant\nbee\n"] * 6 + ["ant\nbee\n日本\n"] * 6 + ["ant\n", "", "a\na\n"]
    ),
})  # fmt: skip
_calm_labels = st.fixed_dictionaries({  # one thing wrong, if any
    "pictures": st.lists(
        st.fixed_dictionaries({
            "kind": files.whole.filter(lambda kind: kind != "float tif"),
            "size": st.tuples(st.integers(45, 60), st.integers(45, 60)),
            "damage": st.none(),
            "mode": st.sampled_from(["L", "P"]),
            "values": st.sampled_from(["classes", "ignored", "one", "mask"]),
            "label damage": st.sampled_from([None] * 20 + ["flipped"]),
            "other size": st.just(False),
            "seed": files.seeds,
        }),
        min_size=2, max_size=3,
    ),
    "classes": st.just("ant\nbee\n"),
})  # fmt: skip


labels = st.one_of(_calm_labels, _calm_labels, _labels)


def write_labels(case: dict, folder: Path) -> None:
    """``images/*.img``, ``labels/*.lab`` and ``classes.txt``."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text(case["classes"])
    for number, one in enumerate(case["pictures"]):
        files.write(
            folder / f"images/{number}.img", one["kind"], one["size"], one["damage"], one["seed"]
        )
        path = folder / f"labels/{number}.lab"
        width, height = files.shown_size(one["kind"], one["size"])
        if one["other size"]:
            width += 1
        if one["label damage"] == "folder":
            path.mkdir()
        elif one["label damage"] != "missing":
            image = _label(one, width, height)
            image.save(path, "TIFF" if image.mode in ("F", "I") else "PNG")
            if one["label damage"]:
                path.write_bytes(files.damage(path.read_bytes(), one["label damage"], one["seed"]))


def _label(one: dict, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(one["seed"])
    count, mode, kind = 2, one["mode"], one["values"]
    top = {"classes": count, "one": 1, "beyond": count + 2, "any": 256}.get(kind, count)
    values = rng.integers(0, top, (height, width))
    if kind == "ignored":
        values[:] = 255
    elif kind == "mask":
        values *= 255
    if mode == "F":
        return Image.fromarray(values.astype(np.float32) + (0.5 if kind == "fractions" else 0))
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * (300 if kind == "any" else 1))
    if mode == "I":
        return Image.fromarray(values.astype(np.int32) * (-1 if kind == "any" else 1))
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return image
    return image if mode == "L" else image.convert(mode)


class_pictures = st.fixed_dictionaries({
    "kind": files.whole,
    "size": files.sizes,
    "damage": st.one_of(*[st.none()] * 6, files.damages),
    "class": st.sampled_from(["", *["ant", "Käse 🦋"] * 6]),
    "seed": files.seeds,
})  # fmt: skip
classes = st.fixed_dictionaries({
    "pictures": st.lists(class_pictures, min_size=2, max_size=6),
    "good": st.sampled_from([True] * 4 + [False]),
    "also": st.sampled_from([None] * 6 + ["empty folder", "text file", "hidden", "deep"]),
})  # fmt: skip


def write_classes(case: dict, folder: Path) -> None:
    """Class folders."""
    folder.mkdir(parents=True)
    for name in {one["class"] for one in case["pictures"]} - {""}:
        (folder / name).mkdir()
        if case["good"]:
            files.write(folder / name / "good.png", "png", (20, 20), None, 0)
    for number, one in enumerate(case["pictures"]):
        parent = folder / one["class"]
        ending = one["kind"].split()[-1]
        files.write(
            parent / f"{number}.{ending}", one["kind"], one["size"], one["damage"], one["seed"]
        )
    match case["also"]:
        case "empty folder":
            (folder / "none").mkdir()
        case "text file":
            (folder / "notes.txt").write_text("hello")
        case "hidden":
            (folder / ".cache").mkdir()
        case "deep":
            (folder / "deep/er").mkdir(parents=True)
            files.write(folder / "deep/er/a.png", "png", (9, 9), None, 0)


checkpoints = st.fixed_dictionaries({
    "how": st.sampled_from(["truncated", "flipped", "flipped", "empty", "text", "zeros"]),
    "seed": files.seeds,
})  # fmt: skip
