"""Mutation testing: change a module in many small ways, one at a time, and show the changes that no test detects.

`make mutants ARGS=tinylm/experiments/significance.py` runs mutmut (https://mutmut.readthedocs.io) in a temporary
copy of the working tree, with the tests in the files that import the module, except slow ones; `--tests` selects
others. Constants of a module are not mutated (change those by hand), nor is `strict=True` of zip, an assertion.
"""

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
# One thread, because mutants run in forked processes. CI: hypothesis repeats its examples and has no deadline.
SETTINGS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CI": "1"}
DETECTED = ("killed", "timeout", "segfault", "suspicious")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="+", type=Path, help="files to mutate, such as tinylm/train/optim/muon.py")
    parser.add_argument("--tests", nargs="+", help="files or FILE::TEST; default: files that import the modules")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes (default: 1)")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    for name in (*options.modules, *(options.tests or ())):
        if not Path(str(name).split("::")[0]).is_file():
            sys.exit(f"error: {name}: no such file; give paths relative to the root of the repository")
    tests = options.tests or sorted({str(test) for module in options.modules for test in covering_tests(module)})
    if not tests:
        sys.exit(f"error: no file in tests/ imports {options.modules[0]}; give some with --tests")
    print("tests:", *tests, flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        copy_tree(copy)
        for module in options.modules:
            source = undecorate(module.read_text(encoding="utf-8")).replace(", strict=True)", ")")
            (copy / module).write_text(source, encoding="utf-8", newline="\n")
        configure(copy, options.modules, tests)
        run = mutmut(copy, "run", "--max-children", str(options.jobs))
        if run.wait():
            sys.exit("error: mutmut failed (see above); check that these tests pass with CI=1 in the environment")
        show(copy, options.modules)


def covering_tests(module: Path) -> Iterator[Path]:
    """Yield the test files that import `module`, and the one named after it."""
    package, name = ".".join(module.parent.parts), module.stem
    imports = re.compile(rf"(from|import) {re.escape(package)}\.{name}\b|from {re.escape(package)} import .*\b{name}\b")
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        if test.stem == f"test_{name}" or imports.search(test.read_text(encoding="utf-8")):
            yield test.relative_to(ROOT)


def copy_tree(to: Path) -> None:
    """Copy the files that git tracks, and untracked files that it does not ignore."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and Path(name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, to / name)


def undecorate(source: str) -> str:
    """Replace `@f def g` by `def g` and `g = f(g)`, which is equivalent: mutmut does not mutate decorated functions."""
    lines = source.splitlines(keepends=True)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda node: node.lineno, reverse=True):  # from the last to the first
        decorators, name = [ast.unparse(decorator) for decorator in function.decorator_list], function.name
        kept = {"staticmethod", "classmethod", f"{name}.setter"}  # mutmut handles the first two
        if not decorators or kept & set(decorators):
            continue
        call = "".join(f"{decorator}(" for decorator in decorators) + name + ")" * len(decorators)
        assert function.end_lineno
        lines.insert(function.end_lineno, f"{' ' * function.col_offset}{name} = {call}\n")
        del lines[function.decorator_list[0].lineno - 1 : function.lineno - 1]
    return "".join(lines)


def configure(copy: Path, modules: Sequence[Path], tests: Sequence[str]) -> None:
    """Add mutmut's settings to the copy's pyproject.toml."""
    settings = {
        "source_paths": sorted({module.parts[0] for module in modules}),
        "only_mutate": [str(module) for module in modules],
        "also_copy": sorted(path.name for path in copy.iterdir()),
        "pytest_add_cli_args_test_selection": ["-m", "not slow", *tests],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist"],
        "process_isolation": "forkserver",  # torch's threads do not survive a fork
    }
    with open(copy / "pyproject.toml", "a", encoding="utf-8", newline="\n") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def mutmut(copy: Path, *arguments: str, output: int | None = None) -> subprocess.Popen[str]:
    """Start mutmut in the copy."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.Popen(command, cwd=copy, env=os.environ | SETTINGS, stdout=output, encoding="utf-8")


def show(copy: Path, modules: Sequence[Path]) -> None:
    """Print the mutants that survived, and the counts of all results."""
    listed = mutmut(copy, "results", "--all", "true", output=subprocess.PIPE).communicate()[0]
    results = dict(line.strip().rsplit(": ", 1) for line in listed.splitlines() if ": " in line)
    counts = Counter(results.values())
    survivors = [name for name, result in results.items() if result not in DETECTED]
    for name in survivors:
        print(mutmut(copy, "show", name, output=subprocess.PIPE).communicate()[0])
    share = len(survivors) / len(results) if results else 0
    parts = ", ".join(f"{count} {result}" for result, count in counts.most_common())
    print(f"{' '.join(map(str, modules))}: {len(results)} mutants ({parts}): {share:.1%} survived")


if __name__ == "__main__":
    main()
