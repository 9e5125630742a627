"""A sound COCO file, what training reads in one, and the ways in which tools write it otherwise.

No damage changes the meaning: a mended file has the truth of the sound one.
"""

import copy
import json
from collections.abc import Callable
from os.path import normpath
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as tools

SIZES = {
    "a b.png": (60, 40),
    "cam1/001.png": (50, 70),
    "cam2/001.png": (64, 64),
    "Empty.PNG": (33, 44),
}
CLASSES = ("7", "car", "dog")
EDGE = 0.7  # pixels

Damage = Callable[[dict], None]
DAMAGES: dict[str, Damage] = {}
FAMILIES: list[list[str]] = []


def sound(folder: Path, seed: int = 0) -> dict:
    """Images in a folder, and their annotations with polygons; the last image has none."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number, (name, (width, height)) in enumerate(SIZES.items(), 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(folder / name)
        images.append(dict(id=10 * number, file_name=name, width=width, height=height))
        for label in range(3 if name != "Empty.PNG" else 0):
            x, y = rng.integers(0, 20, 2).tolist()
            w, h = rng.integers(8, 19, 2).tolist()
            x = width - w if label == 2 else x  # one touches the right edge
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h, x + w / 2, y + h / 2]
            area = float(tools.area(tools.merge(tools.frPyObjects([polygon], height, width))))
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=10 * number, category_id=4 + 3 * label,
                    bbox=[x, y, w, h], area=area, iscrowd=0, segmentation=[polygon],
                )
            )  # fmt: skip
    categories = [dict(id=4 + 3 * i, name=name) for i, name in enumerate(CLASSES)]
    return dict(info={}, images=images, annotations=annotations, categories=categories)


def truth(content: dict) -> list:
    """What training reads: file, class, box, area, pixels of the mask, crowd."""
    files = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = []
    for one in content["annotations"]:
        image = files[one["image_id"]]
        mask = one["segmentation"]
        if isinstance(mask, list) or isinstance(mask["counts"], list):
            mask = tools.frPyObjects(mask, image["height"], image["width"])
        mask = tools.merge(mask) if isinstance(mask, list) else mask
        found.append(
            (
                normpath(image["file_name"]), (image["width"], image["height"]),
                names[one["category_id"]],
                tuple(np.round(one["bbox"], 6).tolist()), round(one["area"], 6),
                int(tools.area(mask)), one["iscrowd"],
            )
        )  # fmt: skip
    return [sorted(found), sorted(normpath(image["file_name"]) for image in files.values()),
            [c["name"] for c in content["categories"]]]  # fmt: skip


def damage(function: Damage) -> Damage:
    add(function.__name__, **{function.__name__: function})
    return function


def each(kind: str, key: str, change: Callable) -> Damage:
    def apply(content: dict) -> None:
        for entry in content[kind]:
            if key in entry:
                entry[key] = change(entry[key])

    return apply


def without(kind: str, *keys: str) -> Damage:
    def apply(content: dict) -> None:
        for entry in content[kind]:
            for key in keys:
                entry.pop(key, None)

    return apply


def _is_exact(value) -> bool:
    return type(value) is int and value < 2**53


def references(kind: str, key: str, change: Callable) -> Damage:
    def apply(content: dict) -> None:
        each(kind, "id", change)(content)
        each("annotations", key, change)(content)

    return apply


def whole(change: Callable) -> Callable:
    """Changes ids that are still whole numbers and no longer than floats are exact."""
    return lambda value: change(value) if _is_exact(value) else value


def add(family: str, **damages: Damage) -> None:
    """Damages of which a file has one at most."""
    DAMAGES.update(damages)
    FAMILIES.append([*damages])


add(
    "ids of images",
    text_image_ids=references("images", "image_id", whole(lambda v: f"{v:06d}")),
    float_image_ids=references("images", "image_id", whole(float)),
    named_image_ids=references("images", "image_id", whole(lambda v: f"frame-{v}")),
    huge_image_ids=references("images", "image_id", whole(lambda v: 10**20 + v)),
    text_references_alone=each("annotations", "image_id", str),
)
add(
    "ids of categories",
    float_category_ids=references("categories", "category_id", whole(float)),
    text_category_ids=references("categories", "category_id", whole(str)),
)
add(
    "ids of annotations",
    annotation_ids_alike=each("annotations", "id", lambda v: 1),
    annotation_ids_missing=without("annotations", "id"),
    annotation_ids_named=each("annotations", "id", lambda v: f"box{v}"),
)
add(
    "sizes",
    text_sizes=each("images", "width", str),
    float_sizes=each("images", "height", float),
    no_sizes=without("images", "width", "height"),
    sizes_of_zero=each("images", "width", lambda v: 0),
)
add(
    "areas",
    no_area=without("annotations", "area"),
    areas_of_zero=each("annotations", "area", lambda v: 0),
    null_areas=each("annotations", "area", lambda v: None),
    text_areas=each("annotations", "area", str),
)
add(
    "crowds",
    no_iscrowd=without("annotations", "iscrowd"),
    null_iscrowd=each("annotations", "iscrowd", lambda v: None),
    text_iscrowd=each("annotations", "iscrowd", str),
)
add(
    "file names",
    backslashes=each("images", "file_name", lambda name: name.replace("/", "\\")),
    escapes=each("images", "file_name", lambda name: name.replace(" ", "%20")),
    other_machine=each("images", "file_name", lambda name: f"/home/me/data/{name}"),
    windows=each("images", "file_name", lambda name: "D:\\data\\" + name.replace("/", "\\")),
    upper_case=each("images", "file_name", str.upper),
    address=each("images", "file_name", lambda name: f"{name}?token=1"),
    dots=each("images", "file_name", lambda name: f"./{name}"),
)
add(
    "class names",
    number_names=each("categories", "name", lambda name: 7 if name == "7" else name),
    float_names=each("categories", "name", lambda name: 7.0 if name == "7" else name),
)


def masks(change: Callable[[list], object]) -> Damage:
    """Changes polygons of three points and more."""
    return each(
        "annotations", "segmentation", lambda mask: change(mask) if len(mask[0]) > 4 else mask
    )


def _pairs(polygon: list) -> list:
    return [[x, y] for x, y in zip(polygon[::2], polygon[1::2], strict=True)]


def _is_plain(mask: list) -> bool:
    return all(type(value) in (int, float) for value in mask[0])


def _pairs(polygon: list) -> list:
    return [[x, y] for x, y in zip(polygon[::2], polygon[1::2], strict=True)]


def _rle(write: Callable[[dict], object]) -> Damage:
    def apply(content: dict) -> None:
        sizes = _sizes(content)
        for one in content["annotations"]:
            if one["image_id"] in sizes and len(one["segmentation"][0]) > 4:
                width, height = sizes[one["image_id"]]
                rle = tools.merge(tools.frPyObjects(one["segmentation"], height, width))
                one["segmentation"] = write(rle)

    return apply


def _sizes(content: dict) -> dict:
    """Of the images that have a file."""
    return {i["id"]: SIZES[i["file_name"]] for i in content["images"] if i["file_name"] in SIZES}


def _uncompressed(rle: dict) -> list[int]:
    flat = tools.decode(rle).ravel(order="F")
    starts = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *starts, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


def _float(sides: list[int]) -> list[float]:
    return [float(side) for side in sides]


FORMS = dict(
    flat_polygons=masks(lambda mask: mask[0]),
    polygons_of_pairs=masks(lambda mask: [_pairs(mask[0])]),
    one_polygon_of_pairs=masks(lambda mask: _pairs(mask[0])),
    polygons_of_points=masks(lambda mask: [[dict(x=x, y=y) for x, y in _pairs(mask[0])]]),
    text_polygons=masks(lambda mask: [[str(v) for v in mask[0]]]),
    text_of_polygons=masks(json.dumps),
    text_of_rle=_rle(lambda rle: str(dict(size=rle["size"], counts=rle["counts"].decode()))),
    stray_points=masks(lambda mask: [*mask, [3, 4], []]),
    compressed=_rle(lambda rle: dict(size=rle["size"], counts=rle["counts"].decode())),
    bytes_as_text=_rle(lambda rle: dict(size=rle["size"], counts=str(rle["counts"]))),
    uncompressed=_rle(lambda rle: dict(size=rle["size"], counts=_uncompressed(rle))),
    rle_without_size=_rle(lambda rle: dict(counts=_uncompressed(rle))),
    rle_of_floats=_rle(lambda rle: dict(size=_float(rle["size"]), counts=_uncompressed(rle))),
    rle_in_a_list=_rle(lambda rle: [dict(size=rle["size"], counts=rle["counts"].decode())]),
)  # fmt: skip


@damage
def a_pixel_outside(content):
    sizes = _sizes(content)
    for one in content["annotations"]:
        x, y, width, height = one["bbox"] or [0, 0, 0, 0]
        if type(width) is int and width and x + width == sizes[one["image_id"]][0]:
            one["bbox"] = [x, y, width + EDGE, height]


@damage
def listed_twice(content):
    image = content["images"][0]
    content["images"].append(dict(image, id=5))
    of_it = [one for one in content["annotations"] if one["image_id"] == image["id"]]
    of_it[0]["image_id"] = 5
    content["annotations"].append(copy.deepcopy(of_it[1]) | dict(image_id=5))


@damage
def an_image_that_is_missing(content):
    content["images"].append(dict(id=777, file_name="gone/nowhere.png", width=9, height=9))
    content["annotations"].append(copy.deepcopy(content["annotations"][0]) | dict(image_id=777))


@damage
def an_annotation_without_image(content):
    content["annotations"].append(copy.deepcopy(content["annotations"][0]) | dict(image_id=123456))


@damage
def negatives(content):
    for box in ([0, 0, 0, 0], ["0", "0", "0", "0"], []):
        one = dict(id=55, image_id=content["images"][-1]["id"], category_id=None, bbox=box)
        content["annotations"].append(one | dict(segmentation=[[]]))


@damage
def a_filler(content):
    content["categories"].insert(0, dict(id=0, name="none"))


@damage
def a_parent(content):
    for category in content["categories"]:
        category["supercategory"] = "street"
    content["categories"].insert(0, dict(id=-1, name="street", supercategory="none"))


@damage
def a_class_twice(content):
    first = next(one for one in content["categories"] if one["name"] == "car")
    content["categories"].append(dict(first, id=99))
    of_it = [one for one in content["annotations"] if one["category_id"] == first["id"]]
    of_it[0]["category_id"] = 99


@damage
def a_flat_polygon(content):
    one = dict(id=77, image_id=content["images"][0]["id"], area=0, bbox=[3, 3, 0, 5], iscrowd=0)
    one |= dict(category_id=content["categories"][-1]["id"], segmentation=[[3, 3, 3, 8]])
    content["annotations"].append(one)


def no_boxes(content: dict) -> None:
    for one in content["annotations"]:
        if one["segmentation"] != [[]]:
            del one["bbox"]


add("masks", **FORMS)
add(
    "boxes",
    no_boxes=no_boxes,
    text_boxes=each("annotations", "bbox", lambda box: [str(v) for v in box]),
    flat_boxes=each("annotations", "bbox", lambda box: [*box[:2], 0, 0]),
)
STRUCTURE = [family for family in FAMILIES if len(family) == 1]
FORM = FAMILIES[-2:]
FAMILIES = STRUCTURE + FORM + [f for f in FAMILIES if f not in STRUCTURE + FORM]


def damaged(content: dict, names) -> dict:
    """A copy with damages, one after the other, as a JSON file would have it.

    Those of the structure come first, then masks and boxes: the others are of single fields.
    """
    content = copy.deepcopy(content)
    for name in names:
        DAMAGES[name](content)
    return json.loads(json.dumps(content))
