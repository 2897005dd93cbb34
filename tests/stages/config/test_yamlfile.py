import math

import pytest

from stages.config import yamlfile
from stages.errors import ConfigError


def value(text):
    return yamlfile.parse(f"a: {text}\n", "t").data["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("false", False),
        ("yes", "yes"),
        ("NO", "NO"),
        ("off", "off"),
        ("1e-4", 1e-4),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.5", -0.5),
        ("12:30", "12:30"),
        ("190:20:30", "190:20:30"),
        ("010", 10),
        ("0o17", "0o17"),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("-.inf", -math.inf),
        ("=", "="),
        ("1.2.3", "1.2.3"),
    ],
)
def test_core_types(text, expected):
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_a_duplicate_key_names_both_lines():
    with pytest.raises(ConfigError) as error:
        yamlfile.parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "ml.yaml")
    assert [p.what for p in error.value.problems()] == [
        "ml.yaml:4: b.c: the key is given twice, first on line 3",
        "ml.yaml:5: a: the key is given twice, first on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\n", 2),
        ("a:\n\t- b\n", 2),
        ("a: 1\n--- \nb: 2\n", 3),
        ("a: !!python/object:os.system x\n", 1),
        ("? [x]\n: b\n", 1),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text, line):
    with pytest.raises(ConfigError) as error:
        yamlfile.parse(text, "ml.yaml")
    assert error.value.code == "CFG_YAML"
    assert error.value.what.startswith(f"ml.yaml:{line}:")


def test_an_alias_of_itself_is_refused():
    with pytest.raises(ConfigError, match="CFG_YAML"):
        yamlfile.parse("a: &x [*x]\n", "ml.yaml")


def test_aliases_are_followed():
    assert yamlfile.parse("a: &x {b: 1}\nc: *x\n", "t").data == {"a": {"b": 1}, "c": {"b": 1}}


def substituted(text, **environment):
    return yamlfile.substitute(yamlfile.parse(text, "t"), environment)


def test_variables_are_replaced_in_values_and_not_in_keys():
    assert substituted('"${A}": x-${A}-${B:-d}', A="1") == {"${A}": "x-1-d"}


def test_an_escaped_reference_stays_and_replaced_text_is_not_searched_again():
    assert substituted("a: $${A}\nb: ${A}", A="${B}") == {"a": "${A}", "b": "${B}"}


def test_an_empty_variable_is_set_but_takes_the_default_as_in_a_shell():
    assert substituted("a: ${A}\nb: ${A:-d}", A="") == {"a": "", "b": "d"}


def test_all_unset_variables_are_reported():
    with pytest.raises(ConfigError) as error:
        substituted("a: ${A}\nb: ${B}")
    assert [p.code for p in error.value.problems()] == ["CFG_ENV_UNSET"] * 2
    assert "t:2: b" in error.value.problems()[1].what


def test_set_replaces_adds_and_takes_yaml():
    document = yamlfile.assign(yamlfile.parse("a: {b: 1}\nc: 2\n", "t"), ["a.b=5", "a.d.e=[1, x]", "c=text"])
    assert document.data == {"a": {"b": "5", "d": {"e": [1, "x"]}}, "c": "text"}
    assert document.data["a"]["b"].typed() == 5
    assert document.where(("a", "b")) == "--set a.b: a.b"


def test_set_takes_quotes_and_null_as_yaml_does():
    document = yamlfile.assign(yamlfile.parse("a: 1", "t"), ['a="[a-z]+"', "b='5'", "c=null", "d=~", "e=", 'f=say "x"'])
    assert document.data == {"a": "[a-z]+", "b": "5", "c": None, "d": None, "e": "", "f": 'say "x"'}
    assert not isinstance(document.data["b"], yamlfile.Untyped)


@pytest.mark.parametrize("text", ["[" * 5000, "9" * 5000, LAUGHS])
def test_a_value_beyond_the_limits_is_text(text):
    document = yamlfile.assign(yamlfile.parse("x: 1\n", "t"), [f"x={text}"])
    assert yamlfile.substitute(document, {})["x"].typed() == text


def test_an_assignment_nested_too_deep():
    with pytest.raises(ConfigError, match="CFG_SET"):
        yamlfile.assign(yamlfile.parse("x: 1\n", "t"), ["a" + ".a" * 2000 + "=1"])
