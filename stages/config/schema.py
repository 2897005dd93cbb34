"""ml.yaml: every key, its type and its default. Rules that look at several keys at once are in `rules.py`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stages.config.problems import Section, problem

NAME = r"[a-z][a-z0-9-]*"

Scalar = str | bool | int | float
ColumnType = Literal["number", "integer", "boolean", "category", "datetime", "text"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]


#: An image's name as registries take it, without a tag: a host that may have a port, then lower case.
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?=[^/]*[.:]|localhost/)(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
)


def is_image(name: str) -> bool:
    """Whether registries take this for the name of an image, without a tag."""
    return _IMAGE.fullmatch(name) is not None


def _function(value: str) -> str:
    module, colon, name = value.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
        raise problem(f"expected module:function, got {value!r}", "write for example: features:repair")
    return value


class SqlSource(Section):
    """Rows of a query, through SQLAlchemy."""

    sql: str
    url: str


class ReadOptions(Section):
    """How text files are read."""

    sep: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal: Annotated[str, Field(min_length=1, max_length=1)] = "."
    escape: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str = "utf-8"
    na_values: list[Scalar] = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        import codecs

        try:
            codecs.lookup(value)
        except (LookupError, ValueError):
            raise problem(f"unknown encoding {value!r}", "use for example utf-8, utf-16, latin-1 or cp1252") from None
        return value

    @model_validator(mode="after")
    def _apart(self) -> ReadOptions:
        if self.sep == self.decimal:
            raise problem(f"sep and decimal are both {self.sep!r}", "European files use sep: ';' with decimal: ','")
        return self


class Column(Section):
    """The contract of one column."""

    type: ColumnType
    min: Number | None = None
    max: Number | None = None
    nullable: bool = False
    tolerate: Fraction | None = None
    values: Annotated[list[Scalar], Field(min_length=1)] | None = None
    feature: bool = True
    timezone: str | None = None
    format: str | None = None
    pattern: str | None = None
    unique: bool = False

    @model_validator(mode="after")
    def _keys_fit_the_type(self) -> Column:
        fits = {
            "min": ("number", "integer"),
            "max": ("number", "integer"),
            "values": ("category", "integer", "text"),
            "timezone": ("datetime",),
            "format": ("datetime",),
            "pattern": ("category", "text"),
        }
        for key, types in fits.items():
            if getattr(self, key) is not None and self.type not in types:
                raise problem(f"{key} does not fit a {self.type} column", f"{key} is for: {', '.join(types)}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise problem(f"min {self.min:g} is greater than max {self.max:g}", "swap them")
        if self.values is not None and len({str(v) for v in self.values}) < len(self.values):
            raise problem("values holds a value twice", "list each value once")
        return self

    @field_validator("pattern")
    @classmethod
    def _valid_pattern(cls, value: str | None) -> str | None:
        import re

        try:
            re.compile(value or "")
        except re.error as error:
            raise problem(f"not a regular expression: {error}", "correct the pattern") from None
        return value

    @field_validator("format")
    @classmethod
    def _known_directives(cls, value: str | None) -> str | None:
        import re
        from datetime import datetime

        try:
            datetime.strptime("", value or "")  # noqa: DTZ007  nothing is read
        except (ValueError, re.error) as error:
            if "does not match format" not in str(error):
                raise problem(f"not a format of strptime: {error}", "use directives such as %d.%m.%Y") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        from zoneinfo import ZoneInfo

        try:
            if value is not None:
                ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise problem(
                f"unknown time zone {value!r}",
                "use a name of the IANA data base, for example UTC or Europe/Berlin",
            ) from None
        return value


class Split(Section):
    """How rows are divided into a training and a test side."""

    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    by: Literal["key", "time", "group", "random"] | None = None
    column: str | None = None
    seed: int = 42


class Data(Section):
    """What the model learns from."""

    source: str | SqlSource
    format: Literal["csv", "parquet", "jsonl"] | None = None
    read: ReadOptions = ReadOptions()
    refresh: Literal["always", "never"] = "always"
    target: str
    positive: Scalar | None = None
    weight: str | None = None
    key: list[str] | None = None
    columns: Annotated[dict[str, Column], Field(min_length=1)]
    transform: str | None = None
    bad_rows: Literal["quarantine", "fail"] = "quarantine"
    max_bad_fraction: Fraction = 0.01
    split: Split = Split()

    @field_validator("transform")
    @classmethod
    def _transform_is_a_function(cls, value: str | None) -> str | None:
        return value if value is None else _function(value)

    @property
    def features(self) -> list[str]:
        """Names of the columns that the model sees, in the order of the contract."""
        return [
            name for name, column in self.columns.items() if column.feature and name not in (self.target, self.weight)
        ]


class Search(Section):
    """Search over hyper-parameters."""

    method: Literal["grid", "random", "halving"] = "random"
    params: Annotated[dict[str, list[Any]], Field(min_length=1)]
    cv: Annotated[int, Field(ge=2)] = 5
    metric: str | None = None
    n_iter: Positive = 20
    budget_seconds: Annotated[float, Field(gt=0)] | None = None

    @field_validator("params")
    @classmethod
    def _not_empty(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for name, choices in value.items():
            if not choices:
                raise problem(f"params.{name} is empty", "list the values to try")
        return value


class Model(Section):
    """The estimator and how it is fitted."""

    estimator: str
    params: dict[str, Any] = {}
    preprocess: str = "auto"
    search: Search | None = None
    cv: Annotated[int, Field(ge=0)] = 0
    seed: int = 42
    format: Literal["skops", "joblib"] = "skops"
    trust: list[str] = []
    onnx: Literal["auto", "require", "never"] = "auto"

    @field_validator("estimator")
    @classmethod
    def _dotted(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            todo = "write for example: sklearn.linear_model.LogisticRegression"
            if ":" in value:
                todo = "name a class, of yours as well (mymodels.Stacked); a function can make model.preprocess"
            raise problem(f"expected package.module.Class, got {value!r}", todo)
        return value

    @field_validator("preprocess")
    @classmethod
    def _auto_or_function(cls, value: str) -> str:
        return value if value == "auto" else _function(value)

    @field_validator("cv")
    @classmethod
    def _folds(cls, value: int) -> int:
        if value == 1:
            raise problem("one fold is no cross-validation", "use 0 for none, or at least 2")
        return value


class Tests(Section):
    """Folders of the repository's own tests."""

    unit: str | None = None
    integration: str | None = None


class Bound(Section):
    """What a metric must reach."""

    min: Number | None = None
    max: Number | None = None
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Bound:
        if self.min is None and self.max is None and self.margin is None:
            raise problem("no bound is given", "give min, max or margin")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise problem(f"min {self.min:g} is greater than max {self.max:g}", "swap them")
        return self


class Baselines(Section):
    """What a model must beat, and how seriously."""

    dummy: Literal["fail", "warn", "off"] = "fail"
    linear: Literal["fail", "warn", "off"] = "warn"


class Drift(Section):
    """When the share of drifted columns is too large."""

    max_share: Fraction = 0.5


class Latency(Section):
    """How quickly the exported artefact answers."""

    p99_ms: Annotated[float, Field(gt=0)]


class Size(Section):
    """How large the exported artefact may be."""

    max_mb: Annotated[float, Field(gt=0)]


class Validate(Section):
    """The gate."""

    metrics: dict[str, Bound] = {}
    champion: str | None = None
    inconclusive: Literal["ask", "pass", "fail"] = "ask"
    baselines: Baselines = Baselines()
    slices: list[str] = []
    drift: Drift | None = None
    latency: Latency | None = None
    size: Size | None = None
    on_fail: Literal["fail", "unstable"] = "fail"


class Resources(Section):
    """Limits of a container."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Annotated[str, Field(pattern=r"^[0-9]+[bkmgBKMG]?$")] | None = None


class Registry(Section):
    """Credentials of an image registry."""

    user: str
    password: str


class Target(Section):
    """One environment. Which keys a target takes is in `TARGET_KEYS`."""

    target: Literal["process", "container", "service", "package", "app"]
    host: str = "127.0.0.1"
    port: Port | None = None
    keep: bool = False
    image: str | None = None
    base: str = "python:3.11-slim"
    gateway: bool | str = True
    publish: bool = True
    replicas: Positive = 1
    watch_seconds: Annotated[float, Field(ge=0)] = 0
    resources: Resources | None = None
    registry: Registry | None = None
    api_key: str | None = None

    @field_validator("api_key")
    @classmethod
    def _fits_into_a_header(cls, value: str | None) -> str | None:
        """Neither says the value: it is a secret."""
        if value is not None and not value:
            raise problem("the key is empty: the service would be open to all", "give one, or leave api_key out")
        if value is not None and "${" not in value and any(not "!" <= letter <= "~" for letter in value):
            what = "the key holds a space or a character that is not ASCII, which no HTTP header carries"
            raise problem(what, "use letters, digits and punctuation of ASCII")
        return value

    @field_validator("image")
    @classmethod
    def _is_a_name_without_a_tag(cls, value: str | None) -> str | None:
        if value is None or "${" in value or is_image(value) or ("" in value.split("/") and "://" not in value):
            return value  # an empty part may be an empty variable, which matters to who deploys there alone
        head, _, tag = value.rpartition(":")
        if tag and "/" not in tag and is_image(head):
            raise problem(f"{value!r} has a tag", f"write {head}: each model gets a tag of its own, from its digest")
        raise problem(
            f"{value!r} is no name of an image",
            "write [registry.example.com/]path in lower case, for example registry.example.com/ml/houses",
        )

    @model_validator(mode="after")
    def _keys_fit_the_target(self) -> Target:
        for key in sorted(self.model_fields_set - {"target"}):
            if key not in TARGET_KEYS[self.target]:
                raise problem(
                    f"{key} does not fit target {self.target}",
                    f"a {self.target} target takes: {', '.join(TARGET_KEYS[self.target]) or 'no other key'}",
                )
        if self.target in ("process", "container") and self.port is None:
            raise problem(f"a {self.target} target needs a port", "add port: 8080")
        if self.target == "service" and self.publish and self.port is None:
            raise problem("a service target needs a port", "add port: 8080, or publish: false for a proxy of your own")
        return self


TARGET_KEYS: dict[str, tuple[str, ...]] = {
    "process": ("port", "host", "keep", "api_key", "watch_seconds"),
    "container": (
        "port",
        "host",
        "image",
        "base",
        "gateway",
        "watch_seconds",
        "resources",
        "registry",
        "api_key",
    ),
    "service": (
        "port",
        "image",
        "base",
        "publish",
        "replicas",
        "watch_seconds",
        "resources",
        "registry",
        "api_key",
    ),
    "package": (),
    "app": (),
}


class Environment(Section):
    """The Python packages that the stages run with."""

    requirements: str | None = None
    versions: Literal["locked", "own"] = "locked"
    variables: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = []

    @field_validator("variables")
    @classmethod
    def _names_each_once(cls, value: list[str]) -> list[str]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise problem(f"{twice[0]!r} is listed twice", "list each variable once")
        return value


class Card(Section):
    """What only people can say about a model."""

    owner: str | None = None
    intended_use: str | None = None
    limits: str | None = None


class Golden(Section):
    """The recorded requests that a model has to answer as recorded before it serves.

    `source`: rows of the test side, or rows drawn from the ranges and levels of the columns, none of them a real one.
    """

    source: Literal["sampled", "synthetic"] = "sampled"


class Config(Section):
    """The whole of ml.yaml."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    task: Literal["classification", "regression"]
    data: Data
    model: Model
    test: Tests = Tests()
    validation: Validate = Field(default=Validate(), alias="validate")
    deploy: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Target] = {}
    store: str = "~/.mlci/store"
    environment: Environment = Environment()
    card: Card = Card()
    golden: Golden = Golden()
