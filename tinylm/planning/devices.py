"""The GPUs that `tinylm plan` knows by name, with their figures as their maker publishes them."""

import re
from dataclasses import dataclass

from tinylm.base.errors import UserError, quote
from tinylm.planning.communication import Links

MOST = 1024  # devices
SEVERAL = re.compile(r"(?:(\d{1,9})\s*[x×*]\s*)?(\d{1,9})\s*[x×*]\s*(\S.*)")
GIGABIT = 1e9 / 8  # bytes
NETWORK = 100 * GIGABIT  # of a machine, in each direction [bytes/s]: Ethernet of servers; --network says another


@dataclass(frozen=True)
class Device:
    """A GPU. Its arithmetic is that of matrix units without sparsity, in bf16 (fp16 where it has no bf16)."""

    name: str
    tflops: float  # published peak [10^12 FLOP/s]
    bandwidth: float  # of the memory [10^9 bytes/s]
    memory: float  # [10^9 bytes]
    watts: float  # of the whole board, at most
    link: float  # to the other GPUs of the machine, in each direction [10^9 bytes/s]
    bf16: bool = True
    sustained: float = 0.5  # share of the peak that large products reach; roofline.py says where it is from


# The sources are NVIDIA's data sheets, unless a line says otherwise; the figures were compared with pages that quote
# them. Peaks "with sparsity" are halved. A link is NVLink where servers have it, else PCI Express with 16 lanes
# (16 GB/s in generation 3, 32 GB/s in 4).
DEVICES = (
    # T4 product page and Turing white paper (2018); the data sheet says 300 GB/s. Its limit of 70 W lowers the clock
    # under load, hence the share of its own.
    Device("T4", 65, 320, 16, 70, 16, bf16=False, sustained=0.2),
    # L4 data sheet (2023): 242 TFLOP/s with sparsity.
    Device("L4", 121, 300, 24, 72, 32),
    # V100 data sheet (2018), SXM2 with 16 GB; 300 GB/s of NVLink in both directions together.
    Device("V100", 125, 900, 16, 300, 150, bf16=False),
    # A10G data sheet of NVIDIA and AWS (2022): 140 TFLOP/s with sparsity. The power is what nvidia-smi reports.
    Device("A10G", 70, 600, 24, 300, 32),
    # GA102 white paper (2020): fp16 with accumulation in fp32. Its NVLink is an option, and joins two cards only.
    Device("RTX3090", 71, 936, 24, 350, 32),
    # Ada white paper (2022): fp16 with accumulation in fp32.
    Device("RTX4090", 165.2, 1008, 24, 450, 32),
    # A100 data sheet (2021), SXM; 600 GB/s of NVLink in both directions together.
    Device("A100-40GB", 312, 1555, 40, 400, 300),
    Device("A100-80GB", 312, 2039, 80, 400, 300),
    # H100 data sheet (2023), SXM: 1,979 TFLOP/s with sparsity; 900 GB/s of NVLink in both directions together.
    Device("H100", 989.5, 3350, 80, 700, 450),
    # H200 data sheet (2024), SXM.
    Device("H200", 989.5, 4800, 141, 700, 450),
    # HGX and DGX B200, for eight: 36 PFLOP/s with sparsity, 64 TB/s (HGX: 62), 1,440 GB, 14.4 TB/s of NVLink.
    Device("B200", 2250, 8000, 180, 1000, 900),
)
ALIASES = {"a100": "a10040"}  # the smaller one: what fits there fits into the other


@dataclass(frozen=True)
class Cluster:
    """Equal GPUs that train together, in one machine or in several, each with the same number."""

    device: Device
    count: int = 1  # all GPUs
    hosts: int = 1  # machines
    network: float = NETWORK  # of a machine to the others, in each direction [bytes/s]

    def __str__(self) -> str:
        counts = [self.hosts] * (self.hosts > 1) + [self.count // self.hosts] * (self.count > 1)
        return "x".join([*map(str, counts), self.device.name])

    @property
    def links(self) -> Links:
        return Links(self.count, self.hosts, 1e9 * self.device.link, self.network)


def find_cluster(text: str, network: float | None = None) -> Cluster:
    """Return the devices that `text` names, such as t4, 8xH100, or 2x8xH100 for two machines of eight.

    `network` is that of each machine [bytes/s]. Raises UserError for an unknown device, and for a network of one.
    """
    several = SEVERAL.fullmatch(text.strip())
    hosts, each, name = (int(several[1] or 1), int(several[2]), several[3]) if several else (1, 1, text)
    count = hosts * each
    if not 1 <= count <= MOST:
        raise UserError(f"--device: expected 1 to {MOST} devices, got {count}")
    if network is not None and hosts == 1:
        raise UserError(f"--network: expected with several machines only, got {quote(text)}; 2x8xH100 are two")
    key = _key(name)
    key = ALIASES.get(key, key)
    for device in DEVICES:
        if _key(device.name) == key:
            return Cluster(device, count, hosts, network or NETWORK)
    known = ", ".join(device.name for device in DEVICES)
    raise UserError(
        f"--device: {quote(name)} is not known; known are {known}, several as in 8xH100, or 2x8xH100 in two machines"
    )


def find_by_driver_name(name: str) -> Device | None:
    """Return the device that a driver calls `name`, such as "NVIDIA A100-SXM4-40GB"; None if it is not in the table."""
    words = re.split(r"[\s-]+", name.lower())
    memory = next((word.removesuffix("gb") for word in words if re.fullmatch(r"\d+gb", word)), "")
    for device in DEVICES:
        if _key(device.name) in {key + more for key in map(_key, words) for more in ("", memory)}:
            return device
    return None


def _key(name: str) -> str:
    """Return a name without what people write differently."""
    return re.sub(r"nvidia|tesla|geforce|rtx|gb$|[\s_-]", "", name.strip().lower())
