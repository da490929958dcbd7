"""The objects of a Kubernetes definition, and what is wrong with them by the schemas that a cluster has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from paths import SCHEMAS

KUBERNETES = "1.33"
"""An older version that clouds still run; the objects are all of stable groups."""
CUSTOM = {"RayCluster": "kuberay-rayclusters-crd.yaml", "RayJob": "kuberay-rayjobs-crd.yaml"}


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a file, as kubectl reads it."""
    return list(yaml.safe_load_all(text))


def problems(found: dict[str, Any]) -> list[str]:
    """What a cluster would refuse in an object, unknown fields too; skips where KubeRay's schemas are absent."""
    if found["kind"] in CUSTOM:
        checker = jsonschema.Draft202012Validator(_schema(found["kind"]))
        return [f"{'/'.join(map(str, each.absolute_path))}: {each.message}" for each in checker.iter_errors(found)]
    try:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error)]
    return []


@cache
def _schema(kind: str) -> dict[str, Any]:
    file = SCHEMAS / CUSTOM[kind]
    if not file.is_file():
        pytest.skip(f"{file} is not there: KubeRay's schemas are not part of the repository (MAREY_TEST_SCHEMAS)")
    with file.open() as content:
        versions = yaml.load(content, yaml.CSafeLoader)["spec"]["versions"]
    (stored,) = [each for each in versions if each["storage"]]
    schema = stored["schema"]["openAPIV3Schema"]
    for each in _schemas(schema):
        # As kubectl does: a field that the schema does not know is refused.
        if "properties" in each and not each.get("x-kubernetes-preserve-unknown-fields"):
            each.setdefault("additionalProperties", False)
        if each.get("x-kubernetes-int-or-string"):
            each["type"] = ["integer", "string"]
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, whatever the kind
    return schema


def _schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for each in inner:
        if isinstance(each, dict):
            yield from _schemas(each)
