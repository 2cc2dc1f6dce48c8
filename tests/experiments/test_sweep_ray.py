"""A sweep on a real Ray cluster, one of whose nodes is killed."""

import re
from pathlib import Path

import pytest

from tests.experiments.test_sweep_faults import LONG, resume_folders, wait_for
from tests.support.clone import Clone
from tests.support.ray_nodes import ENVIRON, PROGRAM, ray_nodes
from tests.support.sweeping import assert_as_here, continued, nothing_is_left, start_on, sweep_clone, table
from tests.train.test_torture import saved_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torture,
    pytest.mark.skipif(not PROGRAM.exists(), reason="ray[default] is not installed"),
]


def test_trials_on_ray_are_those_of_this_machine_although_a_node_dies(ran: Clone, tmp_path: Path) -> None:
    """Both nodes run a trial; one is killed, and its trial resumes on the other node."""
    clone = sweep_clone(ran, tmp_path / "clone").real()
    clone.set_params(LONG)
    clone.commit("longer runs")
    before, rates = resume_folders(clone), "train.peak_lr=1e-3,2e-2"
    with ray_nodes(2) as nodes:
        clone.environ |= ENVIRON | {"RAY_ADDRESS": nodes.address}
        process = start_on("ray", clone, "--name", "nodes", "--jobs", "2", rates)
        wait_for(lambda: min(map(saved_step, new := resume_folders(clone) - before), default=0) >= 60 and len(new) == 2)
        nodes.kill(1)
        output = process.communicate(timeout=300)[0]
    assert process.returncode == 0
    (lost,) = re.findall(r"(nodes-00\d): lost \(\w+\), starts again", output)
    assert min(continued(clone, lost)) >= 60
    assert [row[-1] for row in table(output[output.index("| experiment") :])] == ["complete"] * 2
    assert nothing_is_left(clone)
    assert_as_here(clone, ["nodes-000", "nodes-001"], [rates], tmp_path / "alone")
