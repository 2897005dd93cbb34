"""The Groovy's own tests, by Maven: on Jenkins' engine, in the sandbox, through JenkinsPipelineUnit, past CodeNarc."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.vars.conftest import VARS, mvn

EXPECTED = {
    "LibraryTest": 49,
    "NoiseTest": 7,
    "EndTest": 10,
    "TrustTest": 8,
    "StructureTest": 2,
    "SandboxTest": 5,
    "LintTest": 2,
}


@pytest.mark.timeout(1800)
def test_the_groovy_tests_pass(maven: str) -> None:
    for module in ("cps", "sandbox", "lint"):
        shutil.rmtree(VARS / module / "target" / "surefire-reports", ignore_errors=True)
    done = mvn(maven, "-fae", "test")
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    ran = {}
    for report in VARS.glob("*/target/surefire-reports/TEST-*.xml"):
        suite = ET.parse(report).getroot()
        assert suite.get("skipped") == "0"
        ran[Path(report).stem.removeprefix("TEST-")] = int(suite.get("tests", "0"))
    assert ran.keys() == EXPECTED.keys()
    assert all(ran[name] >= least for name, least in EXPECTED.items()), ran
