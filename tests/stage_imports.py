"""What each stage imports, read from the source: the truth that `deps` in dvc.yaml must repeat."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported_files(module: str) -> set[str]:
    """Files of this repository that `python -m module` may import, packages' `__init__.py` included."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        for path in _files(name):
            if path not in found:
                found.add(path)
                pending += _imports(ROOT / path)
    return found


def _files(module: str) -> list[str]:
    """The file of a module, and the `__init__.py` of every package around it."""
    parts = module.split(".")
    candidates = [Path(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)] + [Path(*parts).with_suffix(".py")]
    return [str(path) for path in candidates if (ROOT / path).is_file()]


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] in ("tinylm", "stages")]


def sections_read(module: str) -> set[str]:
    """Sections of params.yaml that the stage's script looks up: `params[TrainParams]`."""
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    names = {
        node.slice.id.removesuffix("Params")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and node.slice.id.endswith("Params")
    }
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_") for name in names}
