"""Checks the manifests of this folder against KubeRay's custom resource definitions, offline.

In: a folder with the CRD files of a KubeRay release (helm-chart/kuberay-operator/crds). Out: a line per
mistake and exit status 1, or a line per manifest. Unknown fields count as mistakes, because the
API server drops them silently. It does not check what the operator checks at run time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FOLDER = Path(__file__).parent


def mistakes(manifest: dict[str, Any], crds: Path) -> Iterator[str]:
    """Yield what is wrong with a manifest, each with its place."""
    schema = _schema(crds, str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if schema is None:
        yield f"no CRD for {manifest.get('apiVersion')} {manifest.get('kind')} in {crds}"
        return
    validator = jsonschema.Draft202012Validator(_closed(schema))
    for error in validator.iter_errors(manifest):
        place = "/".join(str(part) for part in error.absolute_path)
        yield f"{manifest['kind']}: {place or '(top)'}: {error.message}"


def _schema(crds: Path, api_version: str, kind: str) -> dict[str, Any] | None:
    group, _, version = api_version.partition("/")
    # Each file is a megabyte: read the one that is named for the kind.
    for path in sorted(crds.glob(f"*{kind.lower()}*.yaml")):
        spec = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        if spec["group"] == group and spec["names"]["kind"] == kind:
            for each in spec["versions"]:
                if each["name"] == version:
                    return each["schema"]["openAPIV3Schema"]
    return None


def _closed(schema: Any, top: bool = True) -> Any:
    """Return the schema in JSON Schema's terms, refusing fields it does not name."""
    if isinstance(schema, list):
        return [_closed(each, False) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {
        key: (
            {name: _closed(each, False) for name, each in value.items()}
            if key == "properties"
            else _closed(value, False)
        )
        for key, value in schema.items()
        if key not in ("description", "default", "format") and not key.startswith("x-kubernetes")
    }
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not free:
        closed["additionalProperties"] = False
    if top:
        closed["properties"]["metadata"] = {"type": "object"}
    return closed


def main(arguments: list[str]) -> int:
    """Check all manifests; returns the exit status."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: validate.py CRD_FOLDER (helm-chart/kuberay-operator/crds of a release)")
        return 2
    status = 0
    for path in sorted(FOLDER.glob("ray*.yaml")):
        found = list(mistakes(yaml.safe_load(path.read_text()), Path(arguments[0])))
        print(*(found or [f"{path.name}: valid"]), sep="\n")
        status = status or int(bool(found))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
