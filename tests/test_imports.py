"""What is imported when: gpulr alone is fast and needs no CuPy, and the layers depend on each other one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import gpulr

ROOT = Path(gpulr.__file__).parent

# From the bottom up. A module may import those of lower layers and of its own.
LAYERS = [
    ["gpu_memory"],
    ["transfer"],
    ["device", "images", "data_files"],
    ["links", "products", "parallel", "datasets", "cost_model"],
    ["cuda"],
    ["passes", "linear_algebra", "margin_descent", "margin_descent_kernel"],
    ["rows"],
    ["objective"],
    ["coarse_gram"],
    ["solvers", "model_file"],
    ["lesson", "inputs"],
    ["estimator"],
    ["inference"],
    ["training"],
    ["bench"],
    ["cli"],
]


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imported_layers(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gpulr":
            yield from (alias.name for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gpulr."):
            yield node.module.split(".")[1]


def test_imports_run_one_way():
    level = {name: height for height, names in enumerate(LAYERS) for name in names}
    upward = [
        f"{path.relative_to(ROOT)} imports {other}"
        for name, path in modules()
        for other in imported_layers(path)
        if level[other] > level[name]
    ]
    assert upward == []


def test_solvers_know_nothing_of_rows_and_passes():
    known = {other for name, path in modules() if name == "solvers" for other in imported_layers(path)}
    assert known <= {"cost_model", "device", "linear_algebra", "objective", "products", "solvers"}


def test_importing_gpulr_imports_nothing_heavy():
    code = "import sys, gpulr; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cupy", "sklearn", "scipy", "h5py", "torch", "PIL", "pooch", "rich"} & set(loaded)
