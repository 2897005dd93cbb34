import math
import os

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


@pytest.mark.parametrize("assignment", ["a", "=1", "a..b=1", "c.d=1"])
def test_set_refuses_what_it_cannot_place(assignment):
    with pytest.raises(ConfigError, match="CFG_SET"):
        yamlfile.assign(yamlfile.parse("a: 1\nc: [1]\n", "t"), [assignment])


def test_keys_hold_a_replaced_value_by_its_digest_and_a_secret_by_its_text():
    raw = {"url": "${U}", "data": {"password": "${P}", "source": "${S}"}, "list": [{"token": "${T}"}], "n": 1}
    full = {"url": "u", "data": {"password": "p", "source": "s"}, "list": [{"token": "t"}], "n": 1}
    kept = yamlfile.for_keys(raw, full)
    assert kept["url"] == "${U}"
    assert kept["data"]["password"] == "${P}"
    assert kept["list"] == [{"token": "${T}"}]
    assert kept["n"] == 1
    assert kept["data"]["source"].startswith("${S} = sha256:")
    other = yamlfile.for_keys(raw, {**full, "data": {"password": "p", "source": "S"}})
    assert other["data"]["source"] != kept["data"]["source"]


@pytest.mark.parametrize("text", ["${A", "x${A:default}y", "${1A}", "${}"])
def test_a_broken_reference_is_refused(text):
    with pytest.raises(ConfigError, match="CFG_REFERENCE"):
        yamlfile.substitute(yamlfile.Document("t", {"a": text}), {"A": "1"})


def refused(text):
    with pytest.raises(ConfigError) as error:
        yamlfile.parse(text, "t")
    assert error.value.code == "CFG_YAML"
    return error.value.what


LAUGHS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else ['lol'] * 9)}]\n" for i in range(30))


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        LAUGHS.replace("a29: &a29 [", "a29:\n  <<: [").replace("[", "{x: [").replace("]", "]}"),
        "x: &x [" + "1," * 5_000 + "]\ny: [" + "*x," * 5_000 + "]\n",
        f"x: &x '{'z' * 100_000}'\ny: [" + "*x," * 20_000 + "]\n",
        "k: &k {" + ", ".join(f"k{i}: 1" for i in range(2_000)) + "}\nl: [" + "*k, " * 2_000 + "]\n",
    ],
    ids=["laughs", "in mappings", "wide", "text", "keys"],
)
def test_aliases_that_make_too_much(text):
    assert "aliases make more than" in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "a: " + "{a: " * 60 + "1" + "}" * 60,
        "[" * 40 + "]" * 40,
        "- " * 50_000 + "x",
        "? " * 50_000 + "x",
        "x" * (5 * 2**20),
        "---\n" * 600_000,
        "- \n" * 600_000,
        "[" + "[]," * 600_000 + "]",
        "a: " + "9" * 5000,
        "a: -" + "9" * 301,
        "a: 0x" + "f" * 5000,
        "a: 1." + "9" * 5000,
        "9" * 5000 + ": a",
        "a: !!int '5'",
    ],
)
def test_text_beyond_the_limits(text):
    assert refused(text).startswith("t:")


def test_a_pipe_that_nobody_writes_is_refused(tmp_path):
    os.mkfifo(tmp_path / "ml.yaml")
    with pytest.raises(ConfigError, match=r"ml\.yaml: cannot be read") as caught:
        yamlfile.read(tmp_path / "ml.yaml")
    assert caught.value.code == "CFG_FILE"


def test_numbers_that_a_float_holds_are_read_and_quoted_ones_are_text():
    assert value("9" * 300) == int("9" * 300)
    assert value("'" + "9" * 5000 + "'") == "9" * 5000


def test_a_file_is_read_no_further_than_its_largest_size(tmp_path):
    with (tmp_path / "ml.yaml").open("wb") as out:
        out.truncate(2**40)
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        yamlfile.read(tmp_path / "ml.yaml")


@pytest.mark.parametrize("text", ["[" * 5000, "9" * 5000, LAUGHS])
def test_a_value_beyond_the_limits_is_text(text):
    document = yamlfile.assign(yamlfile.parse("x: 1\n", "t"), [f"x={text}"])
    assert yamlfile.substitute(document, {})["x"].typed() == text


def test_an_assignment_nested_too_deep():
    with pytest.raises(ConfigError, match="CFG_SET"):
        yamlfile.assign(yamlfile.parse("x: 1\n", "t"), ["a" + ".a" * 2000 + "=1"])
