"""The options of `lavaflow scale` and the row it ends with."""

from pathlib import Path

import pytest
import typer
from rich.console import Console

from components.core.errors import ConfigError
from components.serving.config import ReplicaRange, ServedModel
from workflows.cluster import submit
from workflows.home import open_home
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


@pytest.mark.parametrize("options", [(2, None, None), (None, 2, 2), (None, 1, 3)])
def test_a_remote_scale_is_the_same_command_there(
    options: tuple[int | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run_remote(arguments: list[str], address: str, **_: object) -> int:
        calls.append([address, *arguments])
        return 5

    monkeypatch.setattr(submit, "run_remote", run_remote)
    with pytest.raises(typer.Exit) as ended:
        scale.scale_service(open_home(str(tmp_path)), "http://head:8265", *options, Console())
    assert ended.value.exit_code == 5
    found = scale.replica_range(*options)
    numbers = ["--min", str(found.minimum), "--max", str(found.maximum)]
    assert calls == [["http://head:8265", "scale", *numbers, "--address", "auto"]]


def test_the_row_says_how_many_run_of_how_many_asked_for() -> None:
    from components.serving.service.rollout import Endpoint, ServiceStatus

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
