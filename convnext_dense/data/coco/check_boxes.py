"""Whether the boxes of a COCO file have an area and lie in their images."""

from collections.abc import Sequence

import numpy as np

from convnext_dense.data.coco.findings import DoesNotFit, note, refuse, refuse_many

EDGE = 1  # pixels that a box may reach over the edge: COCO's own do by rounding
SUSPICIOUS = 0.1  # share of boxes over the edge from which another format is looked for
REMOVE = "remove them or mend them"


def check_boxes(path: str, annotations: list[dict], sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Checks boxes x, y, width, height in pixels against their images.

    Args:
        path: The COCO file, for the message.
        annotations: Its annotations; each ``bbox`` has four finite numbers.
        sizes: (width, height) of each annotation's image.

    Returns:
        A line for each kind of box that is left out, or that reaches over the edge.

    Raises:
        DoesNotFit: For boxes as two corners, and for more than the share ``TOLERATED`` at least
            half outside of their image.
        UserError: For a negative width or height, fractions instead of pixels, and for more than
            that share without area.
    """
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    areas = np.array([a["area"] for a in annotations], dtype=np.float64)
    limits = np.array(sizes, dtype=np.float64).reshape(-1, 2)
    start, extent = boxes[:, :2], boxes[:, 2:]
    where = np.flatnonzero
    refuse(
        path, "annotations", annotations, where((extent < 0).any(1)),
        "a box of negative width or height", "a box is x, y, width, height",
    )  # fmt: skip
    _refuse_fractions(path, annotations, boxes, limits)
    over = _over_the_edge(start, start + extent, limits)
    flat = (extent == 0).any(1) | (areas == 0)
    inside = np.clip(np.minimum(start + extent, limits) - np.maximum(start, 0), 0, None).prod(1)
    outside = ~flat & (inside <= extent.prod(1) / 2)
    thin = ~flat & ~outside & (extent < 1).any(1)
    _refuse_corners(path, annotations, boxes, limits, over)
    return [
        *refuse_many(path, annotations, where(flat), "a box or mask without area", REMOVE),
        *refuse_many(
            path, annotations, where(outside),
            "a box that lies outside of its image, by half or more", REMOVE, DoesNotFit,
        ),
        *note(path, annotations, where(thin), "a box of less than a pixel: they are left out"),
        *note(path, annotations, where(over & ~outside), "a box that reaches over the edge"),
    ]  # fmt: skip


def _refuse_fractions(
    path: str, annotations: list[dict], boxes: np.ndarray, limits: np.ndarray
) -> None:
    """Refuses boxes in shares of the image, which would all be below a pixel, in one corner."""
    fractions = (boxes % 1 > 0).any() and (boxes >= 0).all() and (boxes <= 1).all()
    if fractions and (limits > 2).all():
        refuse(
            path, "annotations", annotations, range(len(boxes)),
            "a box within 0 and 1, as if in fractions of the image",
            "a box is x, y, width, height in pixels of the image: multiply by its width and height",
        )  # fmt: skip


def _refuse_corners(
    path: str, annotations: list[dict], boxes: np.ndarray, limits: np.ndarray, over: np.ndarray
) -> None:
    # A tenth of one box is no share to judge a format by.
    if over.sum() > max(1, SUSPICIOUS * len(over)) and _are_corners(boxes, limits):
        refuse(
            path, "annotations", annotations, np.flatnonzero(over),
            "a box that ends outside of its image, and all boxes look like two corners",
            "a box is x, y, width, height", DoesNotFit,
        )  # fmt: skip


def _over_the_edge(start: np.ndarray, end: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return (start < -EDGE).any(1) | (end > limits + EDGE).any(1)


def _are_corners(boxes: np.ndarray, limits: np.ndarray) -> bool:
    """Whether every box makes sense as x1, y1, x2, y2."""
    start, end = boxes[:, :2], boxes[:, 2:]
    return bool((end > start).all() and not _over_the_edge(start, end, limits).any())
