"""Draw docs/architecture.svg: the packages of tinylm/ in the layers of pyproject.toml, and their imports.

`make architecture`. An arrow that other arrows imply (A to C, if A to B and B to C are drawn) is left out.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs/architecture.svg"
BOX, GAP, LAYER, MARGIN = 124, 14, 96, 20  # width of a package, gap between them, height of a layer, outer margin [px]
HEIGHT = 44  # of a package [px]
STYLE = """
rect { fill: #eef3fa; stroke: #4a6fa5; rx: 6 } text { font: 13px sans-serif; text-anchor: middle; fill: #1d2733 }
.files { font-size: 11px; fill: #5b6876 } path { fill: none; stroke: #8a99ab } .stage { fill: #fdf3e1; stroke: #b9832f }
"""

Graph = Mapping[str, set[str]]


def layers() -> list[list[str]]:
    """Return the packages by layer, the highest layer first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [line.split(" | ") for line in contract["layers"]]


def imports(packages: Sequence[str]) -> Graph:
    """Return which other packages each package imports."""
    graph = grimp.build_graph("tinylm")
    found: dict[str, set[str]] = {package: set() for package in packages}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            a, b = (name.split(".")[1] if "." in name else "" for name in (module, other))
            if a in found and b in found and a != b:
                found[a].add(b)
    return found


def reachable(graph: Graph, package: str) -> set[str]:
    """Return the packages that `package` imports, directly or indirectly."""
    return graph[package].union(*(reachable(graph, other) for other in graph[package]))


def reduced(graph: Graph) -> Graph:
    """Return the transitive reduction of the graph: without arrows that a longer path implies."""
    return {
        package: others - set[str]().union(*(reachable(graph, other) for other in others))
        for package, others in graph.items()
    }


def draw(rows: Sequence[Sequence[str]], graph: Graph) -> Iterator[str]:
    """Yield the lines of the SVG file."""
    width = max(len(row) for row in rows) * (BOX + GAP) - GAP + 2 * MARGIN
    height = len(rows) * LAYER - (LAYER - HEIGHT) + 2 * MARGIN
    positions: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (BOX + GAP) + GAP) / 2
        positions |= {package: (left + n * (BOX + GAP), MARGIN + number * LAYER) for n, package in enumerate(row)}
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    yield f"<style>{STYLE}</style>"
    yield (
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        '<path d="M0,0 L6,3 L0,6"/></marker></defs>'
    )
    for package, others in graph.items():
        x, y = positions[package]
        for other in sorted(others):
            to_x, to_y = positions[other]
            start, end, bend = (x + BOX / 2, y + HEIGHT), (to_x + BOX / 2, to_y - 2), (LAYER - HEIGHT) * 0.7
            curve = f"C{start[0]},{start[1] + bend} {end[0]},{end[1] - bend} {end[0]},{end[1]}"
            yield f'<path d="M{start[0]},{start[1]} {curve}" marker-end="url(#head)"/>'
    for package, (x, y) in positions.items():
        files = len(list((ROOT / "tinylm" / package).rglob("*.py")))
        kind = ' class="stage"' if (ROOT / f"stages/{package}.py").exists() else ""
        yield f'<rect{kind} x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}"/>'
        yield f'<text x="{x + BOX / 2}" y="{y + 19}">{package}</text>'
        yield f'<text class="files" x="{x + BOX / 2}" y="{y + 35}">{files} files</text>'
    yield "</svg>"


def main() -> None:
    rows = layers()
    graph = reduced(imports([package for row in rows for package in row]))
    PICTURE.write_text("\n".join(draw(rows, graph)) + "\n", encoding="utf-8", newline="\n")
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
