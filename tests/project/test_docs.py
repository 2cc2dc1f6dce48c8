"""The documentation: its commands exist, its links lead somewhere, and its generated pages are up to date."""

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gto.cli
import pytest
import yaml
from dvc.cli import DvcParserError, parse_args
from pydantic import TypeAdapter, ValidationError

from tests.support.documentation import PAGES, Command, anchors, code_spans, commands, links, page_name, prose, split
from tests.support.tiny import ROOT
from tinylm.base import yaml12
from tinylm.base.errors import UserError
from tinylm.base.params import check, section_classes
from tinylm.cli.main import make_parser
from tinylm.experiments.sweep.space import check_space, parse_space
from tinylm.report.meanings import MEANINGS
from tinylm.sampling.request import GenerationRequest
from tools import reference
from tools.parameters_page import CONFLICTS, conflict, hints

PARAMS = yaml12.read(ROOT / "params.yaml", "")
STAGES = yaml12.read(ROOT / "dvc.yaml", "")["stages"]
OUTPUTS = [f"{out}/" for stage in STAGES.values() for out in stage["outs"]]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PLACEHOLDER = re.compile(r"\b(NAME|STAGE|ROOM)\b")
SUFFIXES = ("py", "json", "csv", "yaml", "safetensors", "dvc", "gguf", "onnx", "onnx_data")


class TestCommands:
    @pytest.mark.parametrize("command", commands(), ids=str)
    def test_every_command_exists_with_its_options(self, command: Command) -> None:
        try:
            check_command(command.words)
        except AssertionError:
            if not command.named:
                raise
            check_command([*command.words, "--help"])

    @pytest.mark.parametrize(
        "line",
        [
            "tinylm wrote",
            "tinylm write --colour",
            "tinylm sweep train.rate=1,2",
            "dvc exp walk",
            "dvc repro --fast",
            "dvc exp run -S train.rate=1",
            "dvc exp run -S train.steps=many",
            "dvc exp run --set-param model.heads=3",
            "make tea",
            "make test VERBOSE=1",
            "git fly",
            "gto register model --colour",
            "uv run dvc exp walk",
            "cp presets/none.yaml params.yaml",
            "python -m tinylm.nothing",
            """curl localhost:8000/stories -d '{"colour": "red"}'""",
            "perl -e 1",
        ],
    )
    def test_a_wrong_command_is_found(self, line: str) -> None:
        with pytest.raises(AssertionError):
            for words in split(line):
                check_command(words)

    def test_the_commands_of_a_line_are_told_apart(self) -> None:
        found = list(split("OMP_NUM_THREADS=1 dvc queue start -j 2 && tinylm write 'a; b' | head # both"))
        assert found == [("dvc", "queue", "start", "-j", "2"), ("tinylm", "write", "a; b"), ("head",)]


def check_command(words: Sequence[str]) -> None:
    """Raise an AssertionError if there is no such command, option, parameter or file."""
    program = Path(words[0]).name or words[0]
    assert program in CHECKS, f"{program}: unknown; add a check to tests/project/test_docs.py"
    CHECKS[program](list(words[1:]))


def check_tinylm(arguments: list[str]) -> None:
    if arguments[0] == "COMMAND":
        return
    try:
        options = make_parser().parse_args(arguments)
        if space := getattr(options, "space", None):
            check_space(parse_space(space), PARAMS)
    except UserError as error:
        raise AssertionError(f"{arguments}: {error}") from None
    except SystemExit as stopped:  # 0: after --help
        if stopped.code:
            raise AssertionError(f"{arguments}: refused") from None


def check_python(arguments: list[str]) -> None:
    if arguments[0].startswith("exports/"):  # a script in an export
        assert (ROOT / "tinylm/export/static" / Path(arguments[0]).name).is_file(), arguments
        return
    assert arguments[0] == "-m"
    if arguments[1] == "tinylm":
        check_tinylm(arguments[2:])
    else:
        check_module(arguments)


def check_module(arguments: list[str]) -> None:
    module = arguments[arguments.index("-m") + 1]
    assert importlib.util.find_spec(module), module


def check_dvc(arguments: list[str]) -> None:
    try:
        parse_args(arguments)
    except DvcParserError as error:
        raise AssertionError(f"{arguments}: {error}") from None
    except SystemExit as stopped:
        if stopped.code:
            raise AssertionError(f"{arguments}: refused") from None
    values = json.loads(json.dumps(PARAMS))
    for option, override in itertools.pairwise(arguments):
        if option in ("-S", "--set-param"):
            name, _, text = override.partition("=")
            section, _, key = name.partition(".")
            assert key in values.get(section, {}), f"{name}: no such parameter"
            first = text if text.startswith("[") else text.split(",")[0]  # of the values of a grid
            values[section][key] = yaml12.parse(first, override)
    try:
        check(values, "params.yaml")
    except UserError as error:
        raise AssertionError(f"{arguments}: {error}") from None


def check_make(arguments: list[str]) -> None:
    for argument in arguments:
        variable, assigned, _ = argument.partition("=")
        if assigned:
            assert f"$({variable})" in MAKEFILE, f"{argument}: the Makefile has no such variable"
        elif argument != "--help":
            assert re.search(rf"^{argument}:", MAKEFILE, re.MULTILINE), f"{argument}: no such target"


def check_uv(arguments: list[str]) -> None:
    assert arguments[0] in ("run", "sync", "pip"), arguments
    if arguments[0] == "run" and arguments[1:] not in ([], ["--help"]):
        check_command(arguments[1:])


def check_pip(arguments: list[str]) -> None:
    assert arguments[0] == "install", arguments


def check_git(arguments: list[str]) -> None:
    listed = subprocess.run(["git", "--list-cmds=main"], capture_output=True, text=True, check=True).stdout
    assert arguments[0] in listed.split(), arguments


def check_curl(arguments: list[str]) -> None:
    body = json.loads(arguments[arguments.index("-d") + 1])
    assert body.keys() <= GenerationRequest.model_fields.keys(), body


def check_file(arguments: list[str]) -> None:
    path = arguments[0]
    assert PLACEHOLDER.search(path) or (ROOT / path).is_file() or path.startswith(tuple(OUTPUTS)), arguments


def check_gto(arguments: list[str]) -> None:
    try:
        gto.cli.app([*arguments, "--help"], "gto")
    except SystemExit as stopped:
        if stopped.code:
            raise AssertionError(f"{arguments}: refused") from None


def check_hf(arguments: list[str]) -> None:
    hf = Path(sys.executable).with_name("hf")
    done = subprocess.run([hf, *arguments, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_nothing(arguments: list[str]) -> None:
    """Accept a command of the shell."""


def check_docker(arguments: list[str]) -> None:
    """The Dockerfile has the same commands."""
    if arguments[0] == "cp":
        place = arguments[1].partition(":")[2].rpartition("/")[0]
        assert f"WORKDIR {place}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    else:
        assert f"#   {shlex.join(['docker', *arguments])}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


CHECKS = {
    "tinylm": check_tinylm,
    "python": check_python,
    "dvc": check_dvc,
    "make": check_make,
    "uv": check_uv,
    "pip": check_pip,
    "torchrun": check_module,
    "git": check_git,
    "curl": check_curl,
    "docker": check_docker,
    "gto": check_gto,
    "hf": check_hf,
    **dict.fromkeys(("cp", "cat"), check_file),
    **dict.fromkeys(("cc", "run", "mlx_lm.generate"), check_nothing),  # run an export
    **dict.fromkeys(("cd", "rm", ".", "export"), check_nothing),
    **dict.fromkeys(
        ("llama-completion", "ollama", "ray", "squeue"), check_nothing
    ),  # programs that are not installed here
}


class TestPages:
    def test_the_readme_is_short(self) -> None:
        assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150

    @pytest.mark.parametrize("page", PAGES, ids=page_name)
    def test_links_lead_somewhere(self, page: Path) -> None:
        for link in links(page):
            target, _, anchor = link.partition("#")
            if target.startswith("https://"):
                continue
            file = page.parent / target if target else page
            assert file.exists(), link
            assert not anchor or anchor in anchors(file), link

    @pytest.mark.slow
    def test_the_site_builds_strictly(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
        environ = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not re.search(r'(src|<link[^>]* href)="?(https?:)?//', (tmp_path / "site/index.html").read_text())

    @pytest.mark.parametrize("page", PAGES, ids=page_name)
    def test_parameters_that_a_page_names_exist(self, page: Path) -> None:
        sections = "|".join(section_classes())
        for section, key in re.findall(rf"(?<![\w/.])({sections})\.([a-z_0-9]+)\b(?!\()", prose(page)):
            assert key in PARAMS[section] or key in SUFFIXES, f"{section}.{key}"

    @pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=page_name)
    def test_files_that_a_page_names_exist(self, page: Path) -> None:
        folders = r"(?:tinylm|stages|presets|benchmarks|examples|notebooks|tests|tools|metrics|plots)/"
        for span in code_spans(page):
            for path in re.findall(rf"(?<![\w/.])({folders}[\w./*-]+\.\w+)", span):
                if path != "plots/report.html" and not PLACEHOLDER.search(path):
                    assert list(ROOT.glob(path)), path


class TestReference:
    @pytest.mark.parametrize("path", reference.pages(), ids=page_name)
    def test_a_generated_page_is_up_to_date(self, path: Path) -> None:
        if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "params.yaml"], cwd=ROOT).returncode == 1:
            pytest.skip("params.yaml is that of an experiment, and the page has the committed values")
        assert path.read_text(encoding="utf-8") == reference.pages()[path], "run: make docs"

    def test_every_parameter_is_there_with_its_default(self) -> None:
        rows = parameter_rows()
        assert list(rows) == [f"{section}.{key}" for section, values in PARAMS.items() for key in values]
        for name, (*_, default) in rows.items():
            section, key = name.split(".")
            assert yaml12.parse(default.strip("`"), name) == PARAMS[section][key]

    def test_every_number_has_a_unit_unless_it_has_none(self) -> None:
        rows = parameter_rows()
        plain = {name.split(".")[1] for name, (_, kind, unit, _) in rows.items() if "number" in kind and not unit}
        shares = {"val_fraction", "dropout", "final_lr_fraction", "top_p", "beta1", "beta2", "momentum"}
        rates = {"peak_lr", "muon_lr", "weight_decay", "grad_clip", "rope_base", "norm_eps"}
        rates |= {"temperature", "judged_temperature"}
        assert plain == shares | rates | {"layers", "heads", "width", "mlp_width", "seed", "other_temperatures"}

    def test_every_rule_between_values_has_an_example(self) -> None:
        rules = sum(
            path.read_text(encoding="utf-8").count("            yield ")
            for path in (*(ROOT / "tinylm").glob("*/params.py"), ROOT / "tinylm/base/runtime.py")
        )
        assert len({re.sub(r"\d+", "", conflict(change)) for change in CONFLICTS}) == rules == len(CONFLICTS)

    @pytest.mark.parametrize(
        ("section", "stages"),
        [
            ("download", "download train_tokenizer pretokenize train generate evaluate report"),
            ("model", "train generate evaluate report"),
            ("generate", "generate report"),
            ("runtime", ""),
        ],
    )
    def test_a_section_names_the_stages_that_it_reruns(self, section: str, stages: str) -> None:
        page = reference.pages()[reference.REFERENCE / "parameters.md"]
        sentence = page.split(f"## {section}\n\n")[1].splitlines()[0]
        assert re.findall(r"`(\w+)`", sentence) == stages.split()

    def test_bounds_are_those_of_the_check(self) -> None:
        checked = 0
        for name, (_, kind, *_) in parameter_rows().items():
            if bounds := re.match(r"a whole number from ([\d,]+) to ([\d,]+)", kind):
                low, high = (int(bound.replace(",", "")) for bound in bounds.groups())
                assert [accepted(name, value) for value in (low - 1, low, high, high + 1)] == [0, 1, 1, 0], name
            elif bounds := re.match(r"a number (above|from) ([\d.,e-]+?),? (?:at most|below|to) ([\d.,e-]+)", kind):
                low, high = (float(bound.replace(",", "")) for bound in bounds.groups()[1:])
                assert [accepted(name, value) for value in (low - 1, (low + high) / 2, high + 1)] == [0, 1, 0], name
                assert accepted(name, low) == (bounds[1] == "from"), name
            else:
                continue
            checked += 1
        assert checked > 40

    def test_the_results_of_the_run_are_written_between_their_comments(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        written = reference.with_results(readme, ["| a | b |"])
        assert written.count("| a | b |") == 1
        assert "| `evaluate` | loss " not in written
        assert reference.with_results(written, reference.results(ROOT / "metrics")).count("| `evaluate` | loss ") == 1

    def test_results_of_a_lossy_tokenizer_have_no_bits_per_byte(self, tmp_path: Path) -> None:
        shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
        score = json.loads((tmp_path / "metrics/evaluate.json").read_text())
        for bits, interval in ((0.5, {"low": 0.4, "high": 0.6}), (None, None)):
            score |= {"bits_per_byte": bits, "range95": {"bits_per_byte": interval}}
            (tmp_path / "metrics/evaluate.json").write_text(json.dumps(score))
            known = "0.5000 bits per byte (95%: 0.4000 to 0.6000)" in "\n".join(reference.results(tmp_path / "metrics"))
            assert known == (bits is not None)


def parameter_rows() -> dict[str, list[str]]:
    """Return the row of each parameter, by section.key: meaning, type, unit and default."""
    rows: dict[str, list[str]] = {}
    for part in reference.parameters_page().split("\n## ")[1:]:
        for line in part.splitlines():
            if match := re.match(r"\| `(\w+)` \| (.*) \|$", line):
                rows[f"{part.splitlines()[0]}.{match[1]}"] = match[2].split(" | ")
    return rows


def accepted(name: str, value: float) -> bool:
    """Return whether the type of a parameter accepts a value."""
    section, key = name.split(".")
    try:
        TypeAdapter(dict(hints(section_classes()[section]))[key]).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


class TestWrittenByHand:
    """Pages that are written by hand and have to follow the code."""

    def test_every_metric_is_defined(self) -> None:
        page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
        defined = {part for span in re.findall(r"`([\w.]+)`", page) for part in span.split(".")}
        for path in sorted((ROOT / "metrics").glob("*.json")):
            assert not keys(json.loads(path.read_text(encoding="utf-8"))) - defined - {"low", "high"} - SPLITS, path

    def test_story_metrics_mean_what_the_page_of_a_run_says(self) -> None:
        page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
        alone = {key: meaning for key, meaning in MEANINGS.items() if f"| `{key}` |" in page}
        assert len(alone) > 10
        for key, meaning in alone.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
            assert meaning.removesuffix(" [nats]") in row, key

    def test_every_output_of_a_stage_is_listed(self) -> None:
        page = (ROOT / "docs/reference/files.md").read_text(encoding="utf-8")
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        for stage in stages.values():
            for output in [*stage.get("outs", []), *stage.get("plots", [])]:
                path = output if isinstance(output, str) else next(iter(output))
                assert f"`{path}" in page, path

    def test_the_page_of_decisions_weighs_the_charts(self) -> None:
        scripts = sum(path.stat().st_size for path in (ROOT / "tinylm/report/static").glob("*.js"))
        page = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
        assert "about 20 kB" in page
        assert 15_000 < scripts < 25_000
        assert "about 840 kB" in page
        assert round((ROOT / ".dvc/plots_page.html").stat().st_size, -4) == 840_000


SPLITS = {"train", "val"}


def keys(value: Any) -> set[str]:
    """Return the keys of a metrics file, at all levels."""
    if not isinstance(value, dict):
        return set()
    return value.keys() | {key for inner in value.values() for key in keys(inner)}
