"""Check that the machines of a run train the same: equal code, parameters, inputs and torch."""

import torch

from tinylm.base.errors import UserError
from tinylm.compute.distributed import World, local_rank
from tinylm.train.resume.run_key import run_parts


def check_machines(world: World) -> None:
    """Raise UserError if a machine differs from that of the main process; it names the first difference."""
    if len(world.hosts) == 1:
        return
    own = run_parts("train") | {"the version of torch": torch.__version__} if local_rank() == 0 else {}
    by_rank = world.gather(own)
    main, machines = by_rank[world.main], [parts for parts in by_rank if parts]
    for host, parts in zip(world.hosts, machines, strict=True):
        if parts != main:
            name = next(name for name in main | parts if main.get(name) != parts.get(name))
            raise UserError(
                f"{name} differs between {world.hosts[machines.index(main)]}, which leads, and {host}; "
                "all machines of a run need the same commit, parameters and inputs"
            )
