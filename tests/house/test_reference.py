import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.config import schema

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_reference_is_up_to_date():
    done = subprocess.run([sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def keys(model):
    for name, field in model.model_fields.items():
        yield field.alias or name


def test_every_key_of_ml_yaml_is_in_the_reference():
    text = (ROOT / "docs/reference/ml-yaml.md").read_text()
    sections: tuple[Any, ...] = (
        schema.Config,
        schema.Data,
        schema.ReadOptions,
        schema.Column,
        schema.Split,
        schema.Model,
        schema.Search,
    )
    sections += (schema.Validate, schema.Bound, schema.Baselines, schema.Target, schema.Environment, schema.Card)
    missing = [
        f"{m.__name__}.{k}"
        for m in sections
        for k in keys(m)
        if not any(form in text for form in (f"{k}`", f".{k}", f"{k}."))
    ]
    assert [
        m
        for m in missing
        if m not in ("Config.data", "Config.model", "Config.deploy", "Config.validate", "Config.test")
    ] == []
