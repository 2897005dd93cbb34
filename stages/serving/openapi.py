"""/openapi.json, from the signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages import __version__
from stages.data.cells import INT64, canonical
from stages.serving.decode import allowed_texts, expectation
from stages.serving.limits import Limits

#: Text as `stages.data.cells` takes it.
NO_CONTROL = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def document(signature: Mapping[str, Any], version: str, limits: Limits, with_key: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of the service; `with_key`: an API key is asked for."""
    refusals = {
        "400": "not JSON",
        "408": "the body did not arrive in time",
        "413": "too large",
        "415": "not application/json",
    }
    refusals |= {"422": "values that do not meet the contract", "429": "too many requests at once", "500": "a bug"}
    refusals |= {"503": "not ready, ending, or overloaded", "504": "no answer in time"}
    if with_key:
        refusals["401"] = "the API key is missing or wrong"
    predict: dict[str, Any] = {
        "operationId": "predict",
        "summary": f"Predict {signature['target']['name']}",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}},
        },
        "responses": {"200": _json("predictions in row order", {"$ref": "#/components/schemas/Answer"})}
        | {status: _problem(text) for status, text in sorted(refusals.items())},
    }
    described = _json("what is served", {"type": "object", "required": ["name", "version", "signature"]})
    paths: dict[str, Any] = {
        "/predict": {"post": predict},
        "/livez": _probe("live", "Whether the process runs"),
        "/readyz": _probe("ready", "Whether the service takes requests"),
        "/model": {"get": {"operationId": "model", "responses": {"200": described} | _locked(with_key)}},
        "/metrics": {"get": {"operationId": "metrics", "responses": {"200": _metrics()} | _locked(with_key)}},
        "/openapi.json": {
            "get": {"operationId": "openapi", "responses": {"200": _json("this document", {"type": "object"})}}
        },
    }
    components: dict[str, Any] = {"schemas": _schemas(signature, limits)}
    described_api = {
        "openapi": "3.1.0",
        "info": {"title": signature["name"], "version": version, "description": f"Served by mlci {__version__}."},
        "paths": paths,
        "components": components,
    }
    if with_key:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path in ("/predict", "/model", "/metrics"):
            for operation in paths[path].values():
                operation["security"] = [{"bearer": []}, {"header": []}]
    return described_api


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": _PROBLEM}}}


def _locked(with_key: bool) -> dict[str, Any]:
    return {"401": _problem("the API key is missing or wrong")} if with_key else {}


def _metrics() -> dict[str, Any]:
    return {
        "description": "for Prometheus",
        "content": {"application/openmetrics-text": {"schema": {"type": "string"}}},
    }


def _probe(name: str, summary: str) -> dict[str, Any]:
    body = _json("yes", {"type": "object", "required": ["status"]})
    answers = {"200": body} | ({"503": _problem("no")} if name == "ready" else {})
    empty = {status: {"description": answer["description"]} for status, answer in answers.items()}
    return {
        "get": {"operationId": name, "summary": summary, "responses": answers},
        "head": {"operationId": f"{name}Head", "summary": summary, "responses": empty},
    }


def _schemas(signature: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    features = signature["features"]
    row = {
        "type": "object",
        "properties": {feature["name"]: column_schema(feature) for feature in features},
        "required": [feature["name"] for feature in features if not feature.get("nullable")],
        "description": "Other columns are ignored and counted.",
    }
    predictions = {"type": "array", "items": _prediction(signature)}
    answer: dict[str, Any] = {"type": "object", "required": ["predictions"], "properties": {"predictions": predictions}}
    if signature.get("classes") is not None:
        chances = {
            "type": "object",
            "properties": {canonical(c): {"type": "number", "minimum": 0, "maximum": 1} for c in signature["classes"]},
            "required": [canonical(c) for c in signature["classes"]],
        }
        answer["properties"]["probabilities"] = {"type": "array", "items": chances}
    refused = {
        "type": "object",
        "required": ["pointer", "code", "expected", "got"],
        "properties": {name: {"type": "string"} for name in ("pointer", "code", "expected", "got", "hint")},
    }
    problem = {
        "type": "object",
        "required": ["title", "status", "code", "detail"],
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string"},
            "detail": {"type": "string"},
            "problems": {"type": "array", "items": refused},
            "problems_total": {"type": "integer"},
        },
    }
    request = {
        "type": "object",
        "required": ["rows"],
        "properties": {
            "rows": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Row"},
                # A limit of this service, answered with 413, not a property of the data.
                "description": f"At most {limits.max_rows} rows at once.",
            }
        },
    }
    return {"Row": row, "Request": request, "Answer": answer, "Problem": problem}


def _prediction(signature: Mapping[str, Any]) -> dict[str, Any]:
    classes = signature.get("classes")
    return {"type": "number"} if classes is None else {"enum": list(classes)}


def column_schema(feature: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of one column's value. What JSON Schema cannot say (daylight saving, `format`) is in the
    description."""
    kind = feature["type"]
    schema: dict[str, Any] = {"description": expectation(feature)}
    types = {"number": ["number"], "integer": ["integer"], "boolean": ["boolean"], "datetime": ["string"]}
    exact = feature.get("spelling") == "exact"
    allowed = types.get(kind, ["string"] if exact else ["string", "number", "boolean"])
    if kind in ("number", "integer"):
        ends = (None, None) if kind == "number" else (INT64.start, INT64.stop - 1)
        for name, own, end in (("minimum", "min", ends[0]), ("maximum", "max", ends[1])):
            bound = end if feature.get(own) is None else feature[own]
            schema |= {} if bound is None else {name: bound}
    if kind == "datetime" and feature.get("timezone") and not feature.get("format"):
        schema["format"] = "date-time"
    if feature.get("pattern") is not None:
        schema["pattern"] = f"^(?:{feature['pattern']})$"
    elif kind in ("category", "text"):
        schema["pattern"] = NO_CONTROL
    if feature.get("nullable"):
        allowed = [*allowed, "null"]
    if feature.get("values") is not None:
        schema["enum"] = _spellings(feature) + ([None] if feature.get("nullable") else [])
        return schema
    return schema | {"type": allowed if len(allowed) > 1 else allowed[0]}


def _spellings(feature: Mapping[str, Any]) -> list[Any]:
    """Every JSON value that means one of `values`: 1 and "1" are the same category."""
    texts = [canonical(value) for value in feature["values"]]
    if feature.get("spelling") == "exact":
        return list(texts)
    texts = list(dict.fromkeys([*texts, *sorted(allowed_texts(feature) or ())]))
    numbers: list[Any] = []
    for text in texts:
        try:
            number = float(text)
        except ValueError:
            continue
        if canonical(number) == text:
            numbers.append(int(number) if number.is_integer() else number)
    if feature["type"] == "integer":
        return numbers
    flags = [value for value in (True, False) if canonical(value) in texts]
    return [*texts, *numbers, *flags]
