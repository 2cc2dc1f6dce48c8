"""Open the place that the options of a sweep name."""

import shlex

from tinylm.base.errors import UserError
from tinylm.experiments.sweep.cluster.jobs import Cluster, Resources
from tinylm.experiments.sweep.cluster.script import Remotes, SharedFiles, check_committed
from tinylm.experiments.sweep.cluster.trials import OnCluster


def open_cluster(on: str, through: str | None, cpus: int, gpus: int, options: str, setup: str | None) -> OnCluster:
    """Return the cluster `on` as the place of trials; its nodes see this repository unless `through` a remote.

    Raises UserError if the workspace has uncommitted changes, or if the cluster or the way to it is not usable.
    """
    if on == "slurm" and through:
        raise UserError("--through: expected with Ray or SkyPilot, got Slurm, which writes logs to shared files")
    if on == "sky" and not through:
        raise UserError("--on sky: its machines do not see this repository; give a git remote: --through origin")
    check_committed()
    way = Remotes(through) if through else SharedFiles()
    return OnCluster(_cluster(on), way, Resources(cpus, gpus, shlex.split(options)), setup)


def _cluster(on: str) -> Cluster:
    if on == "slurm":
        from tinylm.experiments.sweep.cluster.slurm import Slurm

        return Slurm()
    if on == "ray":
        from tinylm.experiments.sweep.cluster.ray import Ray

        return Ray()
    from tinylm.experiments.sweep.cluster.skypilot import SkyPilot

    return SkyPilot()
