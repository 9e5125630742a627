"""Rows and cells of the paper's tables.

The numbers of tables 1, 2, 8, 9 and 12 are in ``tables.csv``, as printed; those of tables 3, 4 and
7 in ``dense_rows``; those of tables 10 and 11 in ``models.roadmap.steps``.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from convnext_dense.errors import UserError
from convnext_dense.models.roadmap.steps import REGIMES
from convnext_dense.paper.roadmap.costs import config_name
from convnext_dense.paper.tables.dense_rows import ROWS, PaperRow

TABLES = (1, 2, 3, 4, 7, 8, 9, 10, 11, 12)
COST_COLUMNS = ("params_m", "gflops", "fps")
LABEL_COLUMNS = ("table", "model", "size", "data")
TRAINED_COLUMNS = (
    "accuracy",
    "accuracy_22k",
    "clean",
    "C",
    "Cbar",
    "A",
    "R",
    "SK",
)  # need a training
# The paper's name -> timm's model of the same definition; @SIZE if the size changes the network.
PEERS = {
    "RegNetY-4G": "regnety_040",
    "RegNetY-8G": "regnety_080",
    "RegNetY-16G": "regnety_160",
    "EffNet-B3": "efficientnet_b3",
    "EffNet-B4": "efficientnet_b4",
    "EffNet-B5": "efficientnet_b5",
    "EffNet-B6": "efficientnet_b6",
    "EffNet-B7": "efficientnet_b7",
    "DeiT-S": "deit_small_patch16_224",
    "DeiT-B": "deit_base_patch16_224",
    "ViT-S": "deit_small_patch16_224",  # trained as DeiT (table 2)
    "ViT-B": "deit_base_patch16_224",
    "ViT-L": "vit_large_patch16_224",
    "ViT-B/16@384": "vit_base_patch16_384",
    "ViT-L/16@384": "vit_large_patch16_384",
    "Swin-T": "swin_tiny_patch4_window7_224",
    "Swin-S": "swin_small_patch4_window7_224",
    "Swin-B": "swin_base_patch4_window7_224",
    "Swin-B@384": "swin_base_patch4_window12_384",
    "Swin-L": "swin_large_patch4_window7_224",
    "Swin-L@384": "swin_large_patch4_window12_384",
    "R-101x3": "resnetv2_101x3_bit",
    "R-152x4": "resnetv2_152x4_bit",
    "ResNet-50": "resnet50",
}
# (side in pixels, data) -> suffix of our config for the training of a ConvNeXt.
TRAININGS = {
    (224, "1K"): "in1k_300e",
    (384, "1K"): "in1k_ft384_30e",
    (224, "22K"): "in22k_ft1k_224_30e",
    (384, "22K"): "in22k_ft1k_384_30e",
}


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        column: Name of the column.
        paper: The printed number; a text for lists (table 9).
        unit: Value of the last printed digit; the rounding error is at most half of it.
        config: Name of our config whose run gives the figure, or None.
    """

    column: str
    paper: float | str
    unit: float = 0.0
    config: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: Number of the table.
        model: Our name of the row, unique in its table.
        size: (height, width) in pixels, or in ``dense_rows`` (long, short) side.
        cells: The printed numbers.
        config: Name of our config of the row; the first one of two (table 12).
        peer: Name in timm, if the row is another library's classifier.
    """

    table: int
    model: str
    size: tuple[int, int]
    cells: tuple[Cell, ...]
    config: str | None = None
    peer: str | None = None

    @property
    def key(self) -> str:
        """Name of the row for ``tools/paper.py reproduce``."""
        return f"{self.table}:{self.model}"

    @property
    def configs(self) -> list[str]:
        """All configs of the row's figures, in the order of the columns."""
        names = [self.config, *(cell.config for cell in self.cells)]
        return list(dict.fromkeys(name for name in names if name))


def rows_of(table: int | None = None) -> list[Row]:
    """The rows of one table, or of all tables in the paper's order.

    Raises:
        UserError: For a table that the paper does not have, or that has no figures.
    """
    if table is not None and table not in TABLES:
        raise UserError(
            f"The paper has no table {table} of figures: choose one of "
            f"{', '.join(map(str, TABLES))}."
        )
    rows = [*_rows_of_csv(), *_dense_rows(), *_roadmap_rows()]
    return sorted((r for r in rows if table in (None, r.table)), key=lambda row: row.table)


def _rows_of_csv() -> Iterator[Row]:
    """Rows of tables.csv: a line for each row, and an empty field if there is no number."""
    text = files("convnext_dense.paper.tables").joinpath("tables.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        model, side, data = line["model"], int(line["size"]), line["data"]
        cells = tuple(
            _cell(column, value, _training_config(model, side, data, column))
            for column, value in line.items()
            if value and column not in LABEL_COLUMNS
        )
        label = f"{model}@{side}" + ("/22K" if data == "22K" else "")
        peer = PEERS.get(f"{model}@{side}", PEERS.get(model))
        # The row's config belongs to the first printed accuracy.
        column = "accuracy" if line["accuracy"] or not line["accuracy_22k"] else "accuracy_22k"
        config = _training_config(model, side, data, column)
        yield Row(int(line["table"]), label, (side, side), cells, config, peer)


def _training_config(model: str, side: int, data: str, column: str) -> str | None:
    if column not in TRAINED_COLUMNS:
        return None
    return classifier_config(model, side, "22K" if column == "accuracy_22k" else data)


def classifier_config(model: str, side: int, data: str) -> str | None:
    """Name of the config that trains a ConvNeXt of the paper; None for other models."""
    family, _, size = model.partition("-")
    if family != "ConvNeXt":
        return None
    if size.endswith(" (iso.)"):
        return f"convnext_iso_{size[0].lower()}_in1k_300e"
    return f"convnext_{size.lower()}_{TRAININGS[side, data]}"


def _cell(column: str, value: str, config: str | None) -> Cell:
    if " " in value:
        return Cell(column, value, config=config)
    decimals = len(value.partition(".")[2])
    return Cell(column, float(value), 10.0**-decimals, config)


def _dense_rows() -> Iterator[Row]:
    for row in ROWS:
        yield Row(row.table, row.model, row.input_size, tuple(_dense_cells(row)), row.model)
        if row.miou_single is not None:
            cell = Cell("miou", row.miou_single, 0.1, row.model)
            yield Row(7, row.model, row.input_size, (cell,), row.model)


def _dense_cells(row: PaperRow) -> Iterator[Cell]:
    for column, value, unit in (
        ("params_m", row.params_m, 1),
        ("gflops", row.gflops, 1),
        ("fps", row.fps, 0.1),
        *_average_precisions("box", row.box),
        *_average_precisions("mask", row.mask),
        ("miou", row.miou, 0.1),
    ):
        if value is not None:
            yield Cell(column, value, unit, None if column in COST_COLUMNS else row.model)


def _average_precisions(kind: str, values: Sequence[float]) -> Iterator[tuple[str, float, float]]:
    names = (f"{kind}_ap", f"{kind}_ap50", f"{kind}_ap75")
    return ((name, value, 0.1) for name, value in zip(names, values, strict=False))


def _roadmap_rows() -> Iterator[Row]:
    for name, regime in REGIMES.items():
        for step in regime.steps:
            config = config_name(name, step.name)
            figures = dict(gflops=step.gflops, accuracy=step.accuracy, accuracy_std=step.std)
            cells = tuple(
                Cell(column, value, 0.01, None if column in COST_COLUMNS else config)
                for column, value in figures.items()
                if value is not None
            )
            yield Row(regime.table, config, (224, 224), cells, config)
        peer, accuracy, gflops = regime.peer
        cells = (Cell("gflops", gflops, 0.01), Cell("accuracy", accuracy, 0.01))
        yield Row(regime.table, peer, (224, 224), cells, peer=PEERS[peer])
