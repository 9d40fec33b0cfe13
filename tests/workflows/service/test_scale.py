"""The options of `lavaflow scale` and the row it ends with."""

import pytest

from components.core.errors import ConfigError
from components.serving.config import ReplicaRange, ServedModel
from workflows.service import scale


@pytest.mark.parametrize(
    ("options", "expected"),
    [((2, None, None), (2, 2)), ((None, 1, 4), (1, 4)), ((None, 3, 3), (3, 3))],
)
def test_a_number_or_a_range(options: tuple[int | None, ...], expected: tuple[int, int]) -> None:
    found = scale.replica_range(*options)
    assert (found.minimum, found.maximum) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((None, None, None), "--replicas N, or both"),
        ((None, 1, None), "--replicas N, or both"),
        ((2, 1, None), "one form"),
        ((0, None, None), "lavaflow stop"),
        ((None, 3, 2), "--min 3 is more than --max 2"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[int | None, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        scale.replica_range(*options)


@pytest.mark.parametrize(
    ("address", "takes_jobs"),
    [("http://head:8265", True), ("https://head", True), ("auto", False), ("head:6379", False)],
)
def test_which_addresses_take_jobs(address: str, takes_jobs: bool) -> None:
    assert scale.is_job_address(address) is takes_jobs


@pytest.mark.parametrize(
    ("replicas", "numbers"),
    [
        (ReplicaRange(minimum=2, maximum=2), ["--replicas", "2"]),
        (ReplicaRange(minimum=1, maximum=3), ["--min", "1", "--max", "3"]),
    ],
)
def test_a_remote_scale_is_the_same_command_there(
    replicas: ReplicaRange, numbers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run_remote(arguments: list[str], address: str, **_: object) -> int:
        calls.append([address, *arguments])
        return 5

    monkeypatch.setattr(scale, "run_remote", run_remote)
    assert scale.scale_remotely("http://head:8265", replicas) == 5
    assert calls == [["http://head:8265", "scale", *numbers, "--address", "auto"]]


def test_the_row_says_how_many_run_of_how_many_asked_for() -> None:
    from components.serving.service.app import Endpoint, ServiceStatus

    model = ServedModel(checkpoint="s3://b/m", model_name="m", version="3")
    wanted = model.config.with_(replicas=ReplicaRange(minimum=1, maximum=4))
    endpoint = Endpoint("http://127.0.0.1:8000", "m", "3")
    status = ServiceStatus(endpoint, "RUNNING", "", 2, model.with_(config=wanted))
    assert scale.service_row(status) == {
        "model": "m",
        "version": "3",
        "address": "http://127.0.0.1:8000",
        "replicas": "2 of 1 to 4",
        "state": "RUNNING",
    }
