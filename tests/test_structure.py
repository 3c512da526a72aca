"""Floors are kept, importing is cheap, every public name is documented."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import jaxdecon as jd

PACKAGE = Path(jd.__file__).parent
FLOORS = [
    {"_core", "_version"},
    {"fourier", "io"},
    {"psf", "metrics", "geometry"},
    {"operators"},
    {"deconvolution", "registration"},
    {"fusion", "learning"},
    {"volumes"},
    {"report", "cli", "napari", "__main__"},
]
LEVEL = {part: level for level, parts in enumerate(FLOORS) for part in parts}


def imports_of(path):
    """Parts of the package that a module imports, anywhere in it."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = here[: len(here) - node.level]
        module = tuple(node.module.split(".")) if node.module else ()
        for name in node.names:
            target = (*base, *module) or (name.name,)
            yield target[0]


def test_no_import_runs_upward_or_in_a_circle():
    edges = set()
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if part == "__init__":
            continue
        edges |= {(part, other) for other in imports_of(path) if other != part}
    upward = {(a, b) for a, b in edges if b != "__version__" and LEVEL[b] > LEVEL[a]}
    assert not upward
    assert not {(a, b) for a, b in edges if (b, a) in edges}


def test_import_is_light():
    program = "import sys, jaxdecon; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "flax",
        "optax",
        "zarr",
        "tifffile",
        "matplotlib",
        "typer",
        "rich",
        "scipy",
    }
    # jax itself needs scipy for some of its parts.
    assert not (heavy - {"scipy"}) & {name.split(".")[0] for name in loaded}


def public_objects():
    for info in pkgutil.walk_packages([str(PACKAGE)], "jaxdecon."):
        if info.name.split(".")[-1].startswith("_") or ".data" in info.name:
            continue
        module = sys.modules.get(info.name) or __import__(info.name, fromlist=["_"])
        for name, thing in vars(module).items():
            if name.startswith("_") or not callable(thing):
                continue
            if getattr(thing, "__module__", "").startswith("jaxdecon"):
                yield f"{info.name}.{name}", thing


def test_every_public_name_is_documented():
    missing = [name for name, thing in public_objects() if not inspect.getdoc(thing)]
    for name, thing in public_objects():
        if inspect.isclass(thing):
            missing += [
                f"{name}.{key}"
                for key, value in vars(thing).items()
                if inspect.isfunction(value)
                and not key.startswith("_")
                and not inspect.getdoc(value)
            ]
    assert not missing


FIXED_NAMES = (
    "psf.gaussian",
    "psf.widefield",
    "psf.confocal",
    "psf.light_sheet",
    "psf.gibson_lanni",
    "psf.fwhm",
    "back_projector",
    "fuse",
    "joint_richardson_lucy",
    "richardson_lucy",
    "wiener",
    "deconvolve",
    "operators.Convolution.from_psf",
    "operators.Views",
    "operators.check_adjoint",
    "io.read",
    "io.write",
    "io.Image",
)


def test_fixed_names_are_there():
    for path in FIXED_NAMES:
        thing = jd
        for part in path.split("."):
            thing = getattr(thing, part)
        assert callable(thing)
    assert "io" in dir(jd)
