"""Draw docs/architecture.svg: the rooms of tinylm/ in the layers of pyproject.toml, and which imports which.

`make architecture`. An arrow that other arrows imply (A to C, where A to B and B to C are drawn) is left out.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs/architecture.svg"
ROOM, GAP, LAYER, MARGIN = 124, 14, 96, 20  # widths of a room, between rooms; height of a layer; around all [px]
HEIGHT = 44  # of a room [px]
STYLE = """
rect { fill: #eef3fa; stroke: #4a6fa5; rx: 6 } text { font: 13px sans-serif; text-anchor: middle; fill: #1d2733 }
.files { font-size: 11px; fill: #5b6876 } path { fill: none; stroke: #8a99ab } .stage { fill: #fdf3e1; stroke: #b9832f }
"""

Graph = Mapping[str, set[str]]


def layers() -> list[list[str]]:
    """Rooms by layer, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [line.split(" | ") for line in contract["layers"]]


def imports(rooms: Sequence[str]) -> Graph:
    """Which other rooms each room imports."""
    graph = grimp.build_graph("tinylm")
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            a, b = (name.split(".")[1] if "." in name else "" for name in (module, other))
            if a in found and b in found and a != b:
                found[a].add(b)
    return found


def reachable(graph: Graph, room: str) -> set[str]:
    """The rooms that `room` imports, directly or not."""
    return graph[room].union(*(reachable(graph, other) for other in graph[room]))


def reduced(graph: Graph) -> Graph:
    """The graph without arrows that a longer way implies."""
    return {
        room: others - set[str]().union(*(reachable(graph, other) for other in others))
        for room, others in graph.items()
    }


def draw(rows: Sequence[Sequence[str]], graph: Graph) -> Iterator[str]:
    """The lines of the picture."""
    width = max(len(row) for row in rows) * (ROOM + GAP) - GAP + 2 * MARGIN
    height = len(rows) * LAYER - (LAYER - HEIGHT) + 2 * MARGIN
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (ROOM + GAP) + GAP) / 2
        places |= {room: (left + n * (ROOM + GAP), MARGIN + number * LAYER) for n, room in enumerate(row)}
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    yield f"<style>{STYLE}</style>"
    yield (
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        '<path d="M0,0 L6,3 L0,6"/></marker></defs>'
    )
    for room, others in graph.items():
        x, y = places[room]
        for other in sorted(others):
            to_x, to_y = places[other]
            begin, end, bend = (x + ROOM / 2, y + HEIGHT), (to_x + ROOM / 2, to_y - 2), (LAYER - HEIGHT) * 0.7
            curve = f"C{begin[0]},{begin[1] + bend} {end[0]},{end[1] - bend} {end[0]},{end[1]}"
            yield f'<path d="M{begin[0]},{begin[1]} {curve}" marker-end="url(#head)"/>'
    for room, (x, y) in places.items():
        files = len(list((ROOT / "tinylm" / room).rglob("*.py")))
        kind = ' class="stage"' if (ROOT / f"stages/{room}.py").exists() else ""
        yield f'<rect{kind} x="{x}" y="{y}" width="{ROOM}" height="{HEIGHT}"/>'
        yield f'<text x="{x + ROOM / 2}" y="{y + 19}">{room}</text>'
        yield f'<text class="files" x="{x + ROOM / 2}" y="{y + 35}">{files} files</text>'
    yield "</svg>"


def main() -> None:
    rows = layers()
    graph = reduced(imports([room for row in rows for room in row]))
    PICTURE.write_text("\n".join(draw(rows, graph)) + "\n", encoding="utf-8")
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
