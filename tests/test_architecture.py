"""The floors: imports go down only, each heavy library has one home, the public names are few."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ecgtwin

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ecgtwin"
FLOORS = [
    {"errors"},
    {"spec"},
    {"signals"},
    {"store", "models", "diffusion", "executors"},
    {"twin", "sources"},
    {"training", "generation", "evaluation"},
    {"plots"},
    {"arguments", "cohort_report", "edit_folder", "progress"},
    {"demo"},
    {"commands"},
    {"cli", "viewer"},
    {"__main__"},
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
HOMES = {
    "deepspeed": ("training/deepspeed_engine.py",),
    "ray": ("executors/ray_",),
    "wfdb": ("sources/wfdb_records.py",),
    "zarr": ("store/",),
    "numcodecs": ("store/",),
    "pyarrow": ("store/",),
    "fsspec": ("store/",),
    "s3fs": ("store/",),
    "botocore": ("store/",),
    "aiobotocore": ("store/",),
    "safetensors": ("twin/checkpoint.py", "training/state.py"),
    "tqdm": ("progress.py",),
    "tensorboard": ("training/metrics.py",),
    "PIL": ("plots/raster.py",),
    "xarray": ("demo.py",),
    "transformers": ("models/nomic.py",),
    "huggingface_hub": ("models/nomic.py",),
    "pydantic": ("spec/",),
    "yaml": ("spec/", "demo.py"),
    "scipy": ("signals/", "sources/", "evaluation/", "plots/"),
    "torch": (
        "models/",
        "diffusion/",
        "twin/",
        "training/",
        "evaluation/",
        "store/torch_dataset.py",
        "executors/",
        "generation/numerics.py",
        "generation/worker.py",
        "generation/draw.py",
        "generation/stages.py",
        "demo.py",
    ),
}  # fmt: skip
# Where a name of the import differs from that of the distribution.
DISTRIBUTION = {"yaml": "pyyaml", "huggingface_hub": "huggingface-hub", "PIL": "pillow"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        yield from names_in(node)


def names_in(node):
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    here = path.relative_to(PACKAGE)
    home = here.parts[0].removesuffix(".py")
    if home == "__init__":
        return
    assert home in FLOOR, f"{home} stands on no floor"
    for name in imports(path):
        root, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        homes = HOMES.get(root)
        assert homes is None or here.as_posix().startswith(homes), f"{here} imports {root}"
        if root == "ecgtwin" and target in FLOOR and target != home:
            assert FLOOR[target] < FLOOR[home], f"{here} imports {name}"


def names_of(requirements):
    return {re.match(r"[\w-]+", requirement).group().lower() for requirement in requirements}


def optional_names():
    """Return what the extras bring, the developers' tools aside."""
    extras = PROJECT["optional-dependencies"].items()
    return {name for extra, needed in extras if extra != "dev" for name in names_of(needed)}


def test_every_library_has_a_home_and_is_declared():
    declared = names_of(PROJECT["dependencies"]) | optional_names()
    roots = {
        name.partition(".")[0]
        for folder in (PACKAGE, ROOT / "ray_jobs")
        for path in folder.rglob("*.py")
        for name in imports(path)
    }
    foreign = roots - set(sys.stdlib_module_names) - {"ecgtwin", "ray_jobs"}
    assert {DISTRIBUTION.get(name, name) for name in foreign} <= declared
    assert foreign - {"numpy"} <= set(HOMES), "give a new library a home in HOMES"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_extra_is_imported_inside_functions_only(path):
    """Without the extra every module still imports."""
    module = ast.parse(path.read_text())
    at_once = [node for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {name.partition(".")[0] for node in at_once for name in names_in(node)}
    assert not {DISTRIBUTION.get(root, root) for root in roots} & optional_names()


def test_nothing_imports_the_jobs_but_the_command_line():
    importers = {
        path.name for path in FILES for name in imports(path) if name.startswith("ray_jobs")
    }
    assert importers <= {"cli.py"}


def test_public_names_are_few_sorted_and_there():
    assert ecgtwin.__all__ == sorted(ecgtwin.__all__)
    assert len(ecgtwin.__all__) <= 12
    for name in ecgtwin.__all__:
        assert getattr(ecgtwin, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = ecgtwin.nothing


@pytest.mark.parametrize("statement", ["import ecgtwin", "import ecgtwin.cli"])
def test_import_is_instant(statement):
    heavy = "{'torch', 'ray', 'deepspeed', 'zarr', 'numpy', 'scipy', 'matplotlib', 'pydantic'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.strip() == "[]"


def test_models_import_with_torch_numpy_pydantic_yaml_and_scipy_alone():
    """A GPU machine without Ray, DeepSpeed or Zarr can still train what is in memory."""
    allowed = "{'torch', 'numpy', 'pydantic', 'yaml', 'scipy'}"
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition('.')[0]
        if root in {{'ray', 'deepspeed', 'zarr', 'pyarrow', 's3fs', 'fsspec', 'wfdb', 'safetensors',
                    'matplotlib', 'tqdm', 'xarray', 'pandas', 'aiobotocore', 'botocore', 'PIL',
                    'tensorboard', 'transformers', 'huggingface_hub'}}:
            raise ImportError(root + ' is not among ' + repr({allowed}))
sys.meta_path.insert(0, Refuse())
import ecgtwin.training.objectives, ecgtwin.training.engine, ecgtwin.training.loop
import ecgtwin.models.dit, ecgtwin.models.vae, ecgtwin.models.base_extractor
import ecgtwin.diffusion.samplers, ecgtwin.sources.simulated, ecgtwin.signals.beats
import ecgtwin.twin.twin, ecgtwin.training.data, ecgtwin.training.rows, ecgtwin.training.run
import ecgtwin.store.pack
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
