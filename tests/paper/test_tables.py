"""All tables: printed numbers copied by hand, counts against torch, runs that are matched."""

import json
from pathlib import Path

import pytest
import timm
import torchvision

from convnext_dense.cli.main import parse_tool
from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXtClassifier
from convnext_dense.paper.tables import costs
from convnext_dense.paper.tables.compare import FIELDS, compare_tables, difference
from convnext_dense.paper.tables.costs import REASONS, count_row, judge
from convnext_dense.paper.tables.figures import find_config, paper_figures
from convnext_dense.paper.tables.rows import TABLES, Cell, rows_of

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


def paper(key: str) -> dict[str, float | str]:
    (row,) = (row for row in rows_of() if row.key == key)
    return {cell.column: cell.paper for cell in row.cells}


def test_printed_numbers():
    assert [len(rows_of(table)) for table in TABLES] == [34, 6, 16, 11, 6, 10, 3, 18, 18, 14]
    assert len({row.key for row in rows_of()}) == 136
    assert paper("1:Swin-B@384/22K") == dict(
        params_m=88, gflops=47.0, throughput=85.1, accuracy=86.4
    )
    assert paper("2:ConvNeXt-L (iso.)@224") == dict(
        params_m=306, gflops=59.7, throughput=94.4, accuracy=82.6, train_mem_gb=20.4
    )
    assert paper("3:cascade_convnext_b_3x") == dict(
        params_m=146, gflops=964, fps=11.4, box_ap=52.7, box_ap50=71.3, box_ap75=57.2,
        mask_ap=45.6, mask_ap50=68.9, mask_ap75=49.5,
    )  # fmt: skip
    assert paper("4:upernet_convnext_xl_in22k_640_160k")["miou"] == 54.0
    assert paper("7:upernet_convnext_xl_in22k_640_160k") == dict(miou=53.6)
    assert paper("8:ConvNeXt-T@224")["Cbar"] == 40.0 and "Cbar" not in paper("8:Swin-T@224")
    assert paper("9:Swin-T@224")["blocks"] == "2 2 6 2"
    assert paper("10:resnet50_04_depthwise_conv")["accuracy_std"] == 0.08
    assert paper("12:ConvNeXt-XL@384") == dict(gflops=179.0, throughput=147.4, accuracy_22k=87.8)


def test_the_configs_of_the_rows_state_the_same_figures():
    """One fact is kept where the package needs it; what configs say of it must not differ."""
    compared = 0
    for row in rows_of():
        for cell in row.cells:
            path = cell.config and find_config(cell.config, CONFIGS)
            stated = paper_figures(path).figures if path else {}
            names = {
                "accuracy": ("top1", "top1_ema"), "accuracy_22k": ("top1", "top1_ema"),
                "clean": ("top1", "top1_ema"), "box_ap": ("bbox_mAP",), "mask_ap": ("segm_mAP",),
                "miou": ("mIoU of several scales",) if row.table == 4 else ("mIoU",),
            }.get(cell.column, ())  # fmt: skip
            for name in names:
                if name in stated:
                    assert stated[name] == cell.paper, (row.key, cell)
                    compared += 1
    by_table = {3: 32, 4: 11, 7: 6, 1: 12, 2: 3, 8: 5, 12: 12, 10: 17, 11: 17}
    assert compared == sum(by_table.values())


def test_every_config_exists():
    known = {path.stem for path in CONFIGS.rglob("*.py")}
    assert {name for row in rows_of() for name in row.configs} <= known


def test_counts_are_the_papers():
    for row in rows_of(9):
        found, _ = count_row(row, CONFIGS)
        for cell in row.cells:
            if cell.column in found:
                assert judge(row, cell, found[cell.column]) in (
                    None,
                    "within the digits that the paper prints",
                )
                if isinstance(cell.paper, str):
                    assert found[cell.column] == cell.paper


@pytest.mark.slow
def test_every_count_is_the_papers_or_has_a_reason():
    needed = set()
    for row in rows_of():
        found, _ = count_row(row, CONFIGS)
        for cell in row.cells:
            remark = judge(row, cell, found.get(cell.column))
            assert remark != "NOT EXPLAINED", (row.key, cell)
            if remark in REASONS.values():
                needed.add((row.table, row.model, cell.column))
    assert needed == set(REASONS)


def test_parameters_as_torch_sums_them():
    rows = {row.key: row for row in rows_of()}
    for key, network in (
        ("1:ConvNeXt-T@224", ConvNeXtClassifier(1000)),
        ("1:DeiT-S@224", timm.create_model("deit_small_patch16_224")),
    ):
        found, _ = count_row(rows[key], CONFIGS)
        assert found["params_m"] * 1e6 == sum(p.numel() for p in network.parameters())
    effnet, _ = count_row(rows["1:EffNet-B4@380"], CONFIGS)
    documented = torchvision.models.EfficientNet_B4_Weights.DEFAULT.meta["_ops"]
    assert effnet["gflops"] == pytest.approx(documented, abs=0.0006)


def test_figures_in_the_reasons_are_those_of_torchvision():
    for name, size in (("B4", 380), ("B5", 456), ("B7", 600)):
        weights = getattr(torchvision.models, f"EfficientNet_{name}_Weights").DEFAULT
        assert f" {weights.meta['_ops']:.3f} G " in REASONS[1, f"EffNet-{name}@{size}", "gflops"]


def test_a_peer_has_the_same_figures_in_both_of_its_tables():
    """Tables 10 and 11 print the Swin Transformers of table 1 with more digits."""
    rows = {row.key: row for row in rows_of()}
    for key, other in (("10:Swin-T", "1:Swin-T@224"), ("11:Swin-B", "1:Swin-B@224")):
        cells = {cell.column: cell for cell in rows[other].cells}
        for cell in rows[key].cells:
            assert abs(cell.paper - cells[cell.column].paper) <= cells[cell.column].unit / 2, key


def test_what_the_print_cannot_tell_is_no_deviation():
    row = rows_of(1)[0]
    cell = Cell("gflops", 4.5, 0.1)
    remarks = [judge(row, cell, ours) for ours in (4.455, 4.4501, 4.5499, 4.56)]
    assert remarks == [None, *["within the digits that the paper prints"] * 2, "NOT EXPLAINED"]
    assert judge(row, Cell("params_m", 21, 1), None) is None


def test_rows_that_timm_lacks_say_so():
    (row,) = (row for row in rows_of(8) if row.model == "RVT-S*@224")
    assert count_row(row, CONFIGS) == ({}, costs.NO_MODEL)


def put_run(folder: Path, config: str, metrics: dict, data_root: str, loader="test") -> Path:
    """A work folder as a finished run leaves it."""
    folder.mkdir(parents=True)
    kind = dict(type="CocoDataset", data_root=data_root, ann_file="annotations/x.json")
    if not config.startswith("cascade"):
        kind = dict(type="LabelledImages", data_root=data_root)
    if config.startswith("upernet"):
        kind = dict(type="ADE20KDataset", data_root=data_root)
    text = f"default_scope = 'mmengine'\n{loader}_dataloader = dict(dataset={kind!r})\n"
    if loader == "val":
        text += "train_dataloader = dict(batch_size=1)\ntrain_cfg = dict(max_epochs=300)\n"
        (folder / "env.json").write_text("{}")
    (folder / f"{config}.py").write_text(text)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def ours(table: int, model: str, runs: Path) -> dict[str, tuple]:
    found = compare_tables(table, CONFIGS, runs)
    return {c["column"]: (c["ours"], c["source"]) for c in found if c["model"] == model}


@pytest.fixture
def no_counting(monkeypatch):
    monkeypatch.setattr(costs, "count_row", lambda row, configs: ({}, ""))


def test_runs_are_matched(tmp_path, no_counting):
    tiny = "convnext_t_in1k_300e"
    training = put_run(
        tmp_path / "a", tiny, {"top1": 0.5, "epoch": 300}, "/d/imagenet/val", loader="val"
    )
    value, source = ours(1, "ConvNeXt-T@224", tmp_path)["accuracy"]
    assert value == pytest.approx(50.0) and source == "a: validation, top1"
    test = {"top1": 0.821, "top1_ema": 0.9, "checkpoint": "epoch_300.pth"}
    put_run(training / "test", tiny, test, "/d/imagenet/val")
    (training / "a.json").write_text('{"suite": "a", "checkpoint": "", "data": "", "top1": 0.24}')
    found = ours(8, "ConvNeXt-T@224", tmp_path)
    assert found["clean"] == (pytest.approx(82.1), "a: test, top1")
    assert found["A"] == (pytest.approx(24.0), "a: tools/eval_cls.py a")
    assert found["R"] == (None, "a has no figure of it")
    # averaged weights where the paper's row has them
    xl = dict(top1=0.1, top1_ema=0.878, checkpoint="x")
    put_run(tmp_path / "xl", "convnext_xl_in22k_ft1k_384_30e", xl, "imagenet/val")
    assert ours(12, "ConvNeXt-XL@384", tmp_path)["accuracy_22k"][0] == pytest.approx(87.8)
    alone = dict(top1=0.879, ema=True, checkpoint="x")  # a test of the averaged weights alone
    put_run(tmp_path / "xl_2", "convnext_xl_in22k_ft1k_384_30e", alone, "imagenet/val")
    assert ours(12, "ConvNeXt-XL@384", tmp_path)["accuracy_22k"][0] == pytest.approx(87.9)


def test_an_unfinished_run_says_so(tmp_path, no_counting):
    metrics = {"top1": 0.3, "epoch": 7}
    put_run(tmp_path / "a", "convnext_t_in1k_300e", metrics, "imagenet/val", loader="val")
    _, source = ours(1, "ConvNeXt-T@224", tmp_path)["accuracy"]
    assert "not finished: 7 of 300 epochs" in source


def test_one_scale_and_several_are_two_tables(tmp_path, no_counting):
    name, data = "upernet_convnext_t_512_160k", "/d/ade/ADEChallengeData2016"
    put_run(tmp_path / "one", name, dict(mIoU=0.46, checkpoint="x"), data)
    assert ours(4, name, tmp_path)["miou"] == (None, "one has no figure of it: test with --tta")
    put_run(tmp_path / "several", name, dict(mIoU=0.467, tta=True, checkpoint="x"), data)
    assert ours(4, name, tmp_path)["miou"][0] == pytest.approx(46.7)
    put_run(tmp_path / "ema", name, dict(mIoU=0.47, ema=True, checkpoint="x"), data)
    assert ours(7, name, tmp_path)["miou"][0] == pytest.approx(46.0)  # of the plain weights


def test_other_data_is_no_figure_of_the_row(tmp_path, no_counting):
    put_run(tmp_path / "a", "convnext_t_in1k_300e", dict(top1=0.9, checkpoint="x"), "birds/val")
    value, source = ours(1, "ConvNeXt-T@224", tmp_path)["accuracy"]
    assert value is None and source == "a has other data than convnext_t_in1k_300e"


def test_throughput_of_a_benchmark(tmp_path, no_counting):
    one = dict(images_per_s=2000.0, mode="infer", batch_size=64, iqr=9.0)
    one.update(peak_memory_mb=100.0, ratio=1.0)
    rows = [dict(one, name="cls:tiny"), dict(one, name="timm:swin_tiny_patch4_window7_224")]
    rows.append(dict(one, name="cls:small", mode="train"))
    rows.append(dict(one, name="configs/classification/convnext_iso_s_in1k_300e.py"))
    path = tmp_path / "b.json"
    path.write_text(json.dumps(rows))

    def speeds(table: int, size: int) -> dict:
        found = compare_tables(table, CONFIGS, benchmarks=[f"{size}:{path}"])
        return {c["model"]: c for c in found if c["column"] == "throughput"}

    found = speeds(12, 224)
    for model in ("ConvNeXt-T@224", "Swin-T@224"):
        assert found[model]["ours"] == 2000.0 and "batch 64" in found[model]["source"]
    assert difference(found["ConvNeXt-T@224"]) == "+2.91%"
    assert found["ConvNeXt-S@224"]["source"] == "the benchmark has no cls:small at 224 pixels"
    assert all(cell["ours"] is None for cell in speeds(12, 384).values())
    assert [model for model, cell in speeds(2, 224).items() if cell["ours"]] == [
        "ConvNeXt-S (iso.)@224"
    ]


def test_wrong_input_is_one_sentence(tmp_path):
    for arguments, message in (
        (dict(table=6), "no table 6 of figures: choose one of 1, 2"),
        (dict(table=7, runs=tmp_path / "none"), "is not a folder"),
        (dict(table=7, runs=tmp_path), "contains no work folder"),
        (dict(table=7, benchmarks=[f"224:{tmp_path}/none"]), "cannot be read"),
        (dict(table=7, benchmarks=["b.json"]), "is not SIZE:FILE: write it as in 224:speeds.json"),
    ):
        with pytest.raises(UserError, match=message):
            compare_tables(**arguments, configs=CONFIGS)
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(UserError, match="is not the output of tools/benchmark.py"):
        compare_tables(7, CONFIGS, benchmarks=[f"224:{tmp_path}/b.json"])


def test_the_tool_prints_json(capsys):
    command, args = parse_tool("paper", ["tables", "--table", "7", "--json"])
    command.run(args)
    cells = json.loads(capsys.readouterr().out)
    assert len(cells) == 6
    for cell in cells:
        assert tuple(cell) == FIELDS and cell["ours"] is None and cell["source"]
        assert isinstance(cell["paper"], float) and cell["table"] == 7
    command, args = parse_tool("paper", ["tables", "--table", "9"])
    command.run(args)
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "d" in line and "28.6" in line)
    assert line.split()[:4] == ["ConvNeXt-T@224", "params_m", "28.6", "28.59"]
