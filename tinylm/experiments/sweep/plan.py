"""The identity of a sweep: its search method, search space, seed and fixed parameters."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE
from tinylm.experiments.sweep.space import Space


@dataclass(frozen=True)
class Plan:
    """What a sweep was started with; it resumes only with the same plan."""

    search: str  # grid, random, guided, or list (listed.py)
    space: dict[str, str]
    seed: int
    base: dict[str, Any]  # the fixed parameters, except those that change no result

    def __str__(self) -> str:
        values = " ".join(f"{name}={value}" for name, value in self.space.items())
        return f"--search {self.search} --seed {self.seed} {values}"

    def check_base(self, params: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise UserError if params.yaml has changed since, so that trials would not be comparable."""
        now = _base(params, self.space)
        for key in sorted(now.keys() | self.base.keys()):
            if now.get(key) != self.base.get(key):
                raise UserError(
                    f"{PARAMS_FILE} has changed since the sweep started: {key} was {self.base.get(key)} "
                    f"and is now {now.get(key)}; change it back, or use another --name"
                )


def plan_of(search: str, space: Space, seed: int, params: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return the plan of a sweep over `space` with all other parameters as in `params`."""
    return Plan(search, {name: str(values) for name, values in space.items()}, seed, _base(params, space))


def _base(params: Mapping[str, Mapping[str, Any]], space: Container[str]) -> dict[str, Any]:
    flat = {f"{section}.{key}": value for section in params for key, value in params[section].items()}
    return {key: value for key, value in flat.items() if key not in space and not key.startswith("runtime.")}
