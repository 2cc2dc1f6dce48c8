"""The devices by name."""

import pytest

from tinylm.base.errors import UserError
from tinylm.planning.communication import Links
from tinylm.planning.devices import DEVICES, find_by_driver_name, find_cluster


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("T4", "T4", 1),
        ("t4", "T4", 1),
        ("8xH100", "H100", 8),
        ("2 x RTX 4090", "RTX4090", 2),
        ("4090", "RTX4090", 1),
        ("a100", "A100-40GB", 1),
        ("4*a100-80gb", "A100-80GB", 4),
        ("A100 80GB", "A100-80GB", 1),
        ("NVIDIA L4", "L4", 1),
    ],
)
def test_a_device_has_a_name_that_people_write(text: str, name: str, count: int) -> None:
    cluster = find_cluster(text)
    assert (cluster.device.name, cluster.count, cluster.hosts) == (name, count, 1)


@pytest.mark.parametrize("text", ["2x8xH100", "2 × 8*h100"])
def test_several_machines(text: str) -> None:
    cluster = find_cluster(text)
    assert (cluster.device.name, cluster.count, cluster.hosts) == ("H100", 16, 2)
    assert str(cluster) == "2x8xH100"
    assert find_cluster(str(cluster)) == cluster
    assert str(find_cluster("3x1xT4")) == "3x1xT4"
    assert find_cluster(text, 5e9).links == Links(16, 2, 450e9, 5e9)
    with pytest.raises(UserError, match=r"^--network: expected with several machines only, got '8xT4'; 2x8xH100 are"):
        find_cluster("8xT4", 5e9)


@pytest.mark.parametrize(
    "text", ["", "cpu", "0xT4", "9999xT4", "x", "H1000", "2x", "2x0xT4", "64x64xT4", "2x2x2xT4", "\0"]
)
def test_another_one_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^--device: (expected 1 to 1024 devices|.* is not known; known are T4, L4, .*B200)"
    ):
        find_cluster(text)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_figures_are_in_their_units(device: object) -> None:
    values = vars(device)
    assert find_cluster(values["name"]).device is device
    assert 50 < values["tflops"] < 3000
    assert 200 < values["bandwidth"] < 10_000
    assert 10 < values["memory"] < 300
    assert 50 < values["watts"] < 1500
    assert 10 < values["link"] < 1000
    assert 0 < values["sustained"] <= 0.5


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA GeForce RTX 3090", "RTX3090"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GeForce GTX 1080", None),
        ("x86_64", None),
    ],
)
def test_the_name_of_a_driver(driver: str, name: str | None) -> None:
    found = find_by_driver_name(driver)
    assert (found.name if found else None) == name
