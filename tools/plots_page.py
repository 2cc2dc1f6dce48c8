"""Write .dvc/plots_page.html, the page of `dvc plots`, with Vega's scripts embedded: DVC's own page needs a network.

`make plots-page`; needs npm. DVC's own page (dvc_render/vega.py) loads versions with known vulnerabilities: before
vega 6.2.0, the specification of a plot could run code in the page (CVE-2025-59840 and earlier ones).
"""

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = {"vega": "6.4.0", "vega-lite": "6.5.0", "vega-embed": "7.3.0"}
PAGE = Path(__file__).parent.parent / ".dvc/plots_page.html"
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>Plots</title>
<style>body { font-family: sans-serif; margin: 1rem } table { border-spacing: 15px }</style>
"""
BODY = "</head>\n<body>\n{plot_divs}\n</body>\n</html>\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{name}@{version}" for name, version in PACKAGES.items()]
        packed = subprocess.run(["npm", "pack", "--json", *names], cwd=folder, capture_output=True, encoding="utf-8")
        if packed.returncode:
            sys.exit(f"error: npm pack failed:\n{packed.stderr}")
        archives = {made["name"]: Path(folder) / made["filename"] for made in json.loads(packed.stdout)}
        scripts = [_script(archives[name], name) for name in PACKAGES]
        licence = _licence(archives)
    PAGE.write_text(HEAD + licence + "".join(scripts) + BODY, encoding="utf-8", newline="\n")


def _licence(archives: dict[str, Path]) -> str:
    """Return the licence that all packages share, once, with the copyright of each."""
    copyrights, terms = [], set()
    for name, archive in archives.items():
        with tarfile.open(archive) as package:
            first, _, rest = _read(package, "package/LICENSE").partition("\n")
        copyrights.append(f"{name} {PACKAGES[name]}: {first}")
        terms.add(rest.strip())
    if len(terms) != 1:
        sys.exit("error: expected one licence for all packages, got several; embed each of them")
    return f"<!--\n{chr(10).join(copyrights)}\n{terms.pop()}\n-->\n"


def _script(archive: Path, name: str) -> str:
    with tarfile.open(archive) as package:
        code = _read(package, f"package/build/{name}.min.js")
    lines = (line for line in code.splitlines() if not line.startswith("//# sourceMappingURL"))
    return f"<script>\n{chr(10).join(lines)}\n</script>\n"


def _read(package: tarfile.TarFile, path: str) -> str:
    file = package.extractfile(path)
    assert file is not None
    return file.read().decode()


if __name__ == "__main__":
    main()
