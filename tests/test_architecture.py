"""The house: who may import whom, how full a folder may be, what importing the package changes."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "convnext_dense"
MOST_FILES = 15

# Rooms from the lowest to the highest: each may import from rooms above it in this list alone.
ROOMS = (
    "version", "errors", "text_table", "atomic_files", "messages", "download", "processor",
    "tasks",
    "kernels", "weights", "models", "ops", "optim", "registration",
    "config", "runs", "trackers", "data", "engine", "finetune", "preflight", "browse",
    "detection", "segmentation", "panoptic", "classification", "self_supervised", "hub",
    "inference",
    "exported", "export", "paper", "report", "benchmark", "predictor", "cli", "__main__",
)  # fmt: skip
TASKS = ("detection", "segmentation", "panoptic", "classification", "self_supervised")
# No task knows another.
STRANGERS = [{one, other} for one in TASKS for other in TASKS if one != other]
# Libraries that a room does without: who uses the bare backbone needs none of them.
WITHOUT = {
    room: {"mmcv", "mmdet", "mmseg"} for room in ("kernels", "weights", "models", "optim", "config")
}

# Parts that are there at once, and work where these libraries are not installed.
LIGHT, NOT_LIGHT = ("inference", "exported", "cli.flags"), ("inference.trained",)
HEAVY = {"torch", "torchvision", "timm", "mmengine", "mmcv", "mmdet", "mmseg", "pycocotools",
         "PIL", "matplotlib", "rich", "scipy"}  # fmt: skip


def modules() -> dict[str, Path]:
    """Module name below the package -> file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import of a file, those inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def room_of(module: str) -> str:
    return module.split(".")[0]


def wrong_imports(files: dict[str, Path]) -> list[str]:
    """Imports against the table, as ``file:line imports room``."""
    wrong = []
    for module, path in files.items():
        mine = room_of(module)
        for line, name in imports(path):
            place = f"{path.relative_to(path.parents[len(module.split('.'))])}:{line}"
            if name.split(".")[0] in WITHOUT.get(mine, ()):
                wrong.append(f"{place} imports {name}")
            if not mine or not name.startswith("convnext_dense."):
                continue
            other = room_of(name.removeprefix("convnext_dense."))
            if other in ROOMS and ROOMS.index(other) > ROOMS.index(mine):
                wrong.append(f"{place} imports {other}, which is above {mine}")
            elif {mine, other} in STRANGERS:
                wrong.append(f"{place} imports {other}, another task")
    return wrong


def test_imports_go_down_alone():
    files = modules()
    assert {room_of(name) for name in files} - {""} == set(ROOMS)
    assert wrong_imports(files) == []


def test_a_wrong_import_is_found(tmp_path):
    (tmp_path / "convnext_dense/config").mkdir(parents=True)
    file = tmp_path / "convnext_dense/config/bad.py"
    file.write_text("def f():\n    from convnext_dense.engine import runner\n\nimport mmdet.apis\n")
    found = wrong_imports({"config.bad": file})
    assert len(found) == 2 and "imports engine, which is above config" in "".join(found)
    (tmp_path / "convnext_dense/segmentation").mkdir()
    file = tmp_path / "convnext_dense/segmentation/bad.py"
    file.write_text("from convnext_dense.detection.rle import encode_masks\n")
    assert "another task" in "".join(wrong_imports({"segmentation.bad": file}))


def imports_at_once(node: ast.AST) -> Iterator[str]:
    """What importing a file imports: not what functions do, and nothing for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from imports_at_once(child)


def roads_to_heavy_libraries(files: dict[str, Path], light: list[str]) -> list[str]:
    """Imports of heavy libraries by light modules, or by what they import, as ``a > b > torch``."""
    roads, seen = [], set()

    def visit(name: str, road: tuple[str, ...]) -> None:
        road = (*road, name or "convnext_dense")
        if name in seen:
            return
        seen.add(name)
        for imported in imports_at_once(ast.parse(files[name].read_text(encoding="utf-8"))):
            library, _, rest = imported.partition(".")
            if library in HEAVY:
                roads.append(" > ".join((*road, library)))
            elif library == "convnext_dense":
                parts = rest.split(".")
                for end in range(len(parts) + 1):  # packages are imported before their modules
                    if (package := ".".join(parts[:end])) in files:
                        visit(package, road)

    for name in light:
        visit(name, ())
    return roads


def is_light(name: str) -> bool:
    """Whether a module must be light."""
    inside = [any(f"{name}.".startswith(f"{part}.") for part in of) for of in (LIGHT, NOT_LIGHT)]
    return inside == [True, False]


def test_light_modules_import_no_heavy_library():
    files = modules()
    light = [name for name in files if is_light(name)]
    assert "inference.model" in light and "inference.trained.loading" not in light
    assert roads_to_heavy_libraries(files, ["", *light]) == []


def test_a_road_to_a_heavy_library_is_found(tmp_path):
    texts = dict(
        one="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "try:\n    from convnext_dense.a import two\nexcept ImportError:\n    pass\n",
        two="def f():\n    import timm\n\nclass A:\n    from mmengine.config import Config\n",
    )
    files = {"": tmp_path / "empty.py", "a": tmp_path / "empty.py"}
    files["a"].write_text("")
    for name, text in texts.items():
        files[f"a.{name}"] = tmp_path / f"{name}.py"
        files[f"a.{name}"].write_text(text)
    assert roads_to_heavy_libraries(files, ["a.one"]) == ["a.one > a.two > mmengine"]


def test_modules_import_each_other_in_no_circle():
    """At import time; what a function imports when it is called does not count."""
    files = modules()
    known = {
        name: {
            other
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("convnext_dense.")
            for alias in node.names
            for other in [
                f"{node.module}.{alias.name}".removeprefix("convnext_dense."),
                node.module.removeprefix("convnext_dense."),
            ]
            if other in files and files[other].name != "__init__.py"
        }
        for name, path in files.items()
    }
    done: set[str] = set()

    def visit(name: str, road: tuple[str, ...]) -> None:
        assert name not in road, f"circle: {' -> '.join((*road, name))}"
        if name not in done:
            for other in known[name]:
                visit(other, (*road, name))
            done.add(name)

    for name in files:
        visit(name, ())


def test_no_folder_is_overfull():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    full = {
        str(folder.relative_to(PACKAGE)): count
        for folder in folders
        if (count := sum(p.name != "__init__.py" for p in folder.glob("*.py"))) > MOST_FILES
    }
    assert full == {}


def test_nothing_imports_the_tools():
    for path in modules().values():
        assert not [name for _, name in imports(path) if name.split(".")[0] in ("tools", "tests")]


# States of mmengine before the import, after that of the package, after that of the engine and the
# commands, and after a replacement that this test plants.
SNAPSHOTS = """
import json
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.registry import HOOKS, LOG_PROCESSORS, LOOPS, RUNNERS, TRANSFORMS, VISBACKENDS
from mmengine.runner.checkpoint import CheckpointLoader
import mmengine.hooks, mmengine.runner, mmengine.visualization

def state():
    registries = (HOOKS, LOOPS, RUNNERS, VISBACKENDS, LOG_PROCESSORS, TRANSFORMS)
    classes = {
        f"{registry.name}.{name}": str(found)
        for registry in registries
        for name, found in registry.module_dict.items()
    }
    handlers = {suffix: str(type(handler)) for suffix, handler in file_handlers.items()}
    schemes = {prefix: loader.__module__ for prefix, loader in CheckpointLoader._schemes.items()}
    return dict(classes=classes, handlers=handlers, schemes=schemes)

states = [state()]
import convnext_dense
states.append(state())
import convnext_dense.cli.train, convnext_dense.engine
states.append(state())
file_handlers["pkl"] = json
HOOKS.register_module(name="CheckpointHook", force=True, module=mmengine.hooks.Hook)
states.append(state())
print(json.dumps(states))
"""
ALONE = """
import json, sys
from convnext_dense.models import ConvNeXt
rooms = ("convnext_dense.engine", "mmengine.runner", "mmengine.hooks", "mmdet", "mmseg", "mmcv")
print(json.dumps([room for room in rooms if room in sys.modules]))
import convnext_dense
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
assert MODELS.get("ConvNeXt") and MODELS.get("ConvNeXtClassifier")
assert OPTIM_WRAPPER_CONSTRUCTORS.get("LayerDecayOptimWrapperConstructor")
assert PARAM_SCHEDULERS.get("PolyRatioLR")
import mmcv._ext
"""


def run_python(code: str) -> list:
    """Runs code in a new interpreter; returns the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_replaces_nothing_of_mmengine():
    before, package, engine, planted = run_python(SNAPSHOTS)
    for after in (package, engine):
        assert after["handlers"] == before["handlers"] and after["schemes"] == before["schemes"]
        assert {name: after["classes"][name] for name in before["classes"]} == before["classes"]
    assert not any(name.endswith(".WeightAverageHook") for name in package["classes"])
    assert any(name.endswith(".WeightAverageHook") for name in engine["classes"])
    assert planted["handlers"] != engine["handlers"]  # a replacement is seen
    changed = {n for n, kind in engine["classes"].items() if planted["classes"][n] != kind}
    assert len(changed) == 1


def test_the_backbone_alone_imports_no_engine_and_the_package_registers_its_models():
    assert run_python(ALONE) == []
