"""Measure this project on this machine, next to comparable software: `make bench`.

`ARGS=training` and other names run single sections. Nothing else depends on these measurements.
"""

import argparse

from benchmarks import data, engines, exports, glue, gpu, layouts, learning, novelty, presets, training, writing

SECTIONS = {
    "data": data,
    "training": training,
    "learning": learning,
    "writing": writing,
    "exports": exports,
    "novelty": novelty,
    "presets": presets,
    "glue": glue,
    "gpu": gpu,
    "engines": engines,
    "layouts": layouts,
}
# These need a GPU, a trained model, other packages, or an idle machine; the others run without being named.
BY_NAME_ONLY = {"gpu", "exports", "engines", "layouts"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", help=f"{', '.join(SECTIONS)}; default: all but {', '.join(BY_NAME_ONLY)}"
    )
    for section in SECTIONS.values():
        section.add_arguments(parser)
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"expected sections among {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    for name in arguments.sections or (name for name in SECTIONS if name not in BY_NAME_ONLY):
        SECTIONS[name].bench(arguments)


if __name__ == "__main__":
    main()
