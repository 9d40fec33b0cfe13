"""The files of infra/ and docker/ agree with the project, and with the schemas that are at hand.

KubeRay's CRDs (three megabytes) are not in the repository: put those of a release into
`infra/kuberay/crds`, or name their folder in KUBERAY_CRDS.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import IN_CI

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERAY = sorted((INFRA / "kuberay").glob("ray*.yaml"))
MANIFESTS = [*KUBERAY, INFRA / "mlflow" / "mlflow.yaml", INFRA / "local" / "compose.yaml"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
CRDS = Path(os.environ.get("KUBERAY_CRDS", INFRA / "kuberay" / "crds"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def pinned(distribution: str) -> str:
    text = (ROOT / "constraints.txt").read_text()
    return re.search(rf"^{distribution}==([^+\s]+)", text, re.MULTILINE)[1]


def values(node: Any, name: str) -> Iterator[Any]:
    """Yield every value under a key, anywhere in a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from values(value, name)
    elif isinstance(node, list):
        for each in node:
            yield from values(each, name)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_images_are_pinned_and_ours_can_be_built(path):
    images = [
        image
        for document in yaml.safe_load_all(path.read_text())
        for image in values(document, "image")
    ]
    assert images
    for image in images:
        name, _, tag = image.partition(":")
        assert tag not in ("", "latest"), image
        if name.startswith("lavaflow-"):
            assert (ROOT / "docker" / f"{name.removeprefix('lavaflow-')}.Dockerfile").is_file()
            assert tag == VERSION


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_the_ray_of_the_cluster_is_the_one_in_the_image(path):
    assert set(values(yaml.safe_load(path.read_text()), "rayVersion")) == {pinned("ray")}


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
@pytest.mark.skipif(not CRDS.is_dir(), reason="KubeRay's CRDs are not here (see the docstring)")
def test_the_operator_knows_every_field(path):
    spec = importlib.util.spec_from_file_location("validate", INFRA / "kuberay" / "validate.py")
    validate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(validate)
    assert list(validate.mistakes(yaml.safe_load(path.read_text()), CRDS)) == []


def test_the_service_is_one_that_serve_and_we_understand():
    from ray.serve.schema import ServeDeploySchema

    from components.serving.config import ServedModel
    from components.serving.service.replica import DEPLOYMENT, build_application

    manifest = yaml.safe_load((INFRA / "kuberay" / "rayservice.yaml").read_text())
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, _, function = application.import_path.partition(":")
    assert (module, function) == (build_application.__module__, build_application.__name__)
    assert [each.name for each in application.deployments] == [DEPLOYMENT]
    assert ServedModel.model_validate(application.args).model_name == "lavaflow-tiny"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_installs_what_the_lock_file_says_and_is_not_root(path):
    text = path.read_text()
    assert "-c /opt/lavaflow/constraints.txt" in text
    assert re.search(r"^USER 1000$", text, re.MULTILINE)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), f"{path.name} copies {name}, which is not here"


@pytest.mark.skipif(
    shutil.which("promtool") is None and not IN_CI, reason="promtool is not installed"
)
@pytest.mark.parametrize(("kind", "name"), [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_prometheus_can_read_its_files(kind, name):
    subprocess.run(["promtool", "check", kind, name], cwd=INFRA / "monitoring", check=True)
