"""The simulator against the public description of the real API, copied into `data/`."""

import json
from pathlib import Path
from typing import Any

import pytest

from asana_jobs.testing.simulator.openapi import openapi_document


OFFICIAL = json.loads((Path(__file__).parent / "data" / "official_api.json").read_text(encoding="utf-8"))
OURS = openapi_document("http://127.0.0.1/api/1.0")
EXTRA = {"/users/me"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema a reference stands for."""
    if "allOf" in schema:
        return resolved(schema["allOf"][0])
    if "$ref" not in schema:
        return schema
    named: dict[str, Any] = OURS["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return named


def test_same_routes() -> None:
    """The simulator has the official calls, under the same ids, and one more."""
    ours = {
        path: (method, call["operationId"])
        for path, methods in OURS["paths"].items()
        for method, call in methods.items()
        if path not in EXTRA
    }
    official = {path: (call["method"], call["operation_id"]) for path, call in OFFICIAL["calls"].items()}

    assert ours == official


@pytest.mark.parametrize("path", OFFICIAL["calls"])
def test_same_call(path: str) -> None:
    """Parameters, body, status, errors and answer of a call are the official ones."""
    official = OFFICIAL["calls"][path]
    call = OURS["paths"][path][official["method"]]
    body = call.get("requestBody")
    answer = call["responses"][official["status"]]["content"]["application/json"]["schema"]["properties"][
        "data"
    ]
    if official["answer_is_list"]:
        answer = answer["items"]

    assert sorted(parameter["name"] for parameter in call["parameters"]) == official["parameters"]
    assert set(official["errors"]) <= set(call["responses"])
    assert answer == {"$ref": f"#/components/schemas/{official['answer']}"}
    if official["body"] is None:
        assert body is None
    else:
        data = body["content"]["application/json"]["schema"]["properties"]["data"]
        assert data == {"$ref": f"#/components/schemas/{official['body']}"}
        assert body["required"] >= official["body_required"]


@pytest.mark.parametrize("name", OFFICIAL["schemas"])
def test_same_schema(name: str) -> None:
    """A schema has the official fields, of the same types and words."""
    official = OFFICIAL["schemas"][name]
    ours = resolved(OURS["components"]["schemas"][name])
    fields = {field: resolved(schema) for field, schema in ours["properties"].items()}

    assert set(fields) == set(official["properties"])
    assert set(official["required"]) <= set(ours.get("required", ()))
    for field, expected in official["properties"].items():
        # Deliberately different: `include` is taken as a list as well, and words that only a text names are an enum.
        taken = fields[field] if "type" in fields[field] else fields[field]["oneOf"][0]
        assert expected["type"] == taken["type"], field
        assert fields[field].get("enum") == expected.get("enum", fields[field].get("enum")), field
