"""Write .dvc/plots_page.html, the page of `dvc plots`, with Vega's scripts inside: DVC's own page needs a network.

`make plots-page`; needs npm. The versions are those that DVC's page names (dvc_render/vega.py).
"""

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = {"vega": "5.20.2", "vega-lite": "5.2.0", "vega-embed": "6.18.2"}
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
        packed = subprocess.run(["npm", "pack", "--json", *names], cwd=folder, capture_output=True, text=True)
        if packed.returncode:
            sys.exit(f"error: npm pack failed:\n{packed.stderr}")
        scripts = [_script(Path(folder) / made["filename"], made["name"]) for made in json.loads(packed.stdout)]
    PAGE.write_text(HEAD + "".join(scripts) + BODY, encoding="utf-8")


def _script(archive: Path, name: str) -> str:
    """The package's script, under its licence."""
    with tarfile.open(archive) as package:
        licence, code = (_read(package, f"package/{path}") for path in ("LICENSE", f"build/{name}.min.js"))
    lines = (line for line in code.splitlines() if not line.startswith("//# sourceMappingURL"))
    return f"<script>\n/*! {name} {PACKAGES[name]}\n{licence}*/\n{chr(10).join(lines)}\n</script>\n"


def _read(package: tarfile.TarFile, path: str) -> str:
    file = package.extractfile(path)
    assert file is not None
    return file.read().decode()


if __name__ == "__main__":
    main()
