import textwrap

import pytest

from stages import config
from stages.errors import ConfigError

VALID = """
name: flights
task: classification
data:
  source: data.csv
  target: late
  key: [id]
  columns:
    id: {type: integer, feature: false}
    delay: {type: number}
    carrier: {type: category}
    late: {type: boolean}
model: {estimator: sklearn.linear_model.LogisticRegression}
"""


def load(tmp_path, text=VALID, more="", sets=(), **environment):
    path = tmp_path / "ml.yaml"
    path.write_text(text + textwrap.dedent(more))
    return config.load(path, list(sets), environment)


def problems(tmp_path, *arguments, **keywords):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, *arguments, **keywords)
    return [(p.code, p.what.split("ml.yaml:")[-1], p.todo) for p in error.value.problems()]


def test_the_required_keys_are_enough(tmp_path):
    loaded = load(tmp_path)
    assert loaded.config.data.features == ["delay", "carrier"]
    assert loaded.config.store == config.DEFAULT_STORE
    assert loaded.config.validation.metrics == {}


def test_the_store_comes_from_the_environment(tmp_path):
    assert load(tmp_path, MLCI_STORE="/srv/store").config.store == "/srv/store"
    assert load(tmp_path, MLCI_STORE="").config.store == config.DEFAULT_STORE


@pytest.mark.parametrize("store", ["a\\0b", "x" * 5000])
def test_a_store_that_can_be_no_path(tmp_path, store):
    with pytest.raises(ConfigError, match=r"store: this can be no path"):
        load(tmp_path, VALID, f'store: "{store}"\n')


def test_each_missing_key_is_named(tmp_path):
    found = problems(tmp_path, "name: a\n")
    assert {what.split(": ")[1] for _, what, _ in found} == {"task", "data", "model"}
    assert {code for code, _, _ in found} == {"CFG_MISSING_KEY"}


def test_errors_of_all_kinds_come_at_once_in_the_order_of_lines(tmp_path):
    text = VALID.replace("target: late", "target: lat").replace("{type: number}", "{type: numbr}") + "bar: 1\n"
    found = problems(tmp_path, text)
    assert [(code, what.split(":")[0]) for code, what, _ in found] == [
        ("CFG_VALUE", "6"),
        ("CFG_VALUE", "10"),
        ("CFG_UNKNOWN_KEY", "14"),
    ]
    assert "did you mean 'late'?" in found[0][2]


@pytest.mark.parametrize(
    ("more", "where", "part"),
    [
        ("validate: {metrics: {roc_auc: {mim: 1}}}", "validate.metrics.roc_auc.mim", "did you mean 'min'?"),
        ("deploy: {a: {target: process, port: 1, prot: 2}}", "deploy.a.prot", "did you mean 'port'?"),
        ("deploy: {a: {target: process}}", "deploy.a", "port"),
        ("deploy: {A: {target: process, port: 1}}", "deploy.A", "got 'A'"),
        ("deploy: {a: {target: process, port: 70000}}", "deploy.a.port", "65535"),
        ("validate: {metrics: {roc_auc: {min: .nan}}}", "validate.metrics.roc_auc.min", "finite"),
        ("validate: {metrics: {roc_auc: {min: 2, max: 1}}}", "validate.metrics.roc_auc", "greater"),
        ("test: {unit: 5}", "test.unit", "text"),
        ("card: {ownr: x}", "card.ownr", "did you mean 'owner'?"),
        ("validate: {slices: [nope], champion: nope}", "validate.champion", "nope"),
        ("environment: {versions: some}", "environment.versions", "'locked' or 'own'"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_expected(tmp_path, more, where, part):
    found = problems(tmp_path, VALID, more)
    assert any(f": {where}: " in what and part in what + todo for _, what, todo in found), found


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("key: [id]", "key: [id, nope]", "not a listed column"),
        ("key: [id]", "key: [late]", "key"),
        ("key: [id]", "weight: carrier", "not a number"),
        ("key: [id]", "split: {by: key}", "needs data.key"),
        ("key: [id]", "split: {by: time}", "needs a column"),
        ("key: [id]", "split: {by: time, column: carrier}", "no order"),
        ("key: [id]", "split: {by: random, column: id}", "takes no column"),
        ("key: [id]", "positive: yes", "positive"),
        ("late: {type: boolean}", "late: {type: number}", "does not fit classification"),
        ("late: {type: boolean}", "late: {type: boolean, nullable: true}", "may not be missing"),
        ("carrier: {type: category}", "carrier: {type: text}", "text columns"),
        ("carrier: {type: category}", "carrier: {type: category, pattern: '['}", "regular expression"),
        ("carrier: {type: category}", "carrier: {type: datetime, timezone: Mars/Base}", "time zone"),
        ("carrier: {type: category}", "carrier: {type: datetime, format: '%-d.%m.%Y'}", "bad directive"),
        ("carrier: {type: category}", "carrier: {type: datetime, format: '%Y-%Y'}", "not a format of strptime"),
        ("delay: {type: number}", "delay: {type: number, min: 3, max: 1}", "greater"),
        ("delay: {type: number}", "delay: {type: number, format: x}", "does not fit"),
        ("source: data.csv", "source: data.csv\n  read: {sep: ',', decimal: ','}", "both"),
        ("source: data.csv", "source: data.csv\n  read: {encoding: utf-9}", "unknown encoding"),
        ("source: data.csv", "source: data.csv\n  transform: features", "module:function"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, old, new, part):
    assert any(part in what for _, what, _ in problems(tmp_path, VALID.replace(old, new)))


def test_a_variable_takes_the_type_of_its_key(tmp_path):
    text = VALID.replace("key: [id]", "key: ${KEYS}\n  max_bad_fraction: ${FRACTION}").replace("data.csv", "${SOURCE}")
    loaded = load(tmp_path, text, KEYS="[id]", FRACTION="0.5", SOURCE="true")
    assert loaded.config.data.key == ["id"]
    assert loaded.config.data.max_bad_fraction == 0.5
    assert loaded.config.data.source == "true"
    assert loaded.recorded("data")["data"]["source"] == "${SOURCE}"
    assert loaded.keyed("data")["data"]["max_bad_fraction"].startswith("${FRACTION} = sha256:")


def test_a_secret_never_reaches_records_keys_or_messages(tmp_path):
    text = VALID.replace("source: data.csv", 'source: {sql: "SELECT 1", url: "${URL}"}')
    loaded = load(tmp_path, text, URL="postgresql://me:hunter2@db/x")
    assert loaded.config.data.source.url.endswith("@db/x")
    assert "hunter2" not in str(loaded.recorded("data")) + str(loaded.keyed("data"))
    found = problems(tmp_path, text.replace("sql:", "sqll:"), URL="postgresql://me:hunter2@db/x")
    assert "hunter2" not in str(found)


def test_set_reaches_any_key_and_is_named_in_errors(tmp_path):
    assert load(tmp_path, sets=["model.params.C=0.5"]).config.model.params == {"C": 0.5}
    assert load(tmp_path, sets=["name=true"]).config.name == "true"
    assert load(tmp_path, sets=["data.positive=false"]).config.data.positive is False
    with pytest.raises(ConfigError) as error:
        load(tmp_path, sets=["model.sed=1"])
    assert error.value.what.startswith("--set model.sed: ")
    assert "'seed'" in error.value.todo


def test_a_file_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(ConfigError, match="CFG_FILE"):
        config.load(tmp_path / "ml.yaml")
    (tmp_path / "ml.yaml").write_text("")
    with pytest.raises(ConfigError, match="empty"):
        config.load(tmp_path / "ml.yaml")
    (tmp_path / "ml.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(tmp_path / "ml.yaml")


def test_one_cell_gives_one_error(tmp_path):
    found = problems(
        tmp_path, VALID.replace("carrier: {type: category}", "carrier: {type: category, values: [a, null]}")
    )
    assert len(found) == 1
    assert "expected text or true or false" in found[0][1]


def test_a_variable_of_the_wrong_type_is_named(tmp_path):
    found = problems(tmp_path, VALID.replace("LogisticRegression}", 'LogisticRegression, seed: "${SEED}"}'), SEED="abc")
    assert found[0][2] == "set SEED to what is expected"


DEPLOY = """
deploy:
  local: {target: process, port: 8000, api_key: "${LOCAL_KEY:-none}"}
  production:
    target: service
    port: 8001
    image: "${REGISTRY}/flights"
    registry: {user: "${REG_USER}", password: "${REG_PASSWORD}"}
    api_key: "${REG_PASSWORD}"
"""


def test_an_unset_variable_of_an_environment_is_an_error_of_that_environment_alone(tmp_path):
    loaded = load(tmp_path, VALID, DEPLOY, REG_USER="me")
    assert {env: list(names) for env, names in loaded.unset.items()} == {"production": ["REGISTRY", "REG_PASSWORD"]}
    assert loaded.config.deploy["production"].image == "${REGISTRY}/flights"
    assert loaded.config.deploy["production"].registry.user == "me"
    loaded.whole("local")
    with pytest.raises(ConfigError) as error:
        loaded.whole("production")
    assert [(p.code, p.what.split(": ", 1)[1]) for p in error.value.problems()] == [
        ("CFG_ENV_UNSET", "deploy.production.image: environment variable REGISTRY is not set"),
        ("CFG_ENV_UNSET", "deploy.production.registry.password: environment variable REG_PASSWORD is not set"),
    ]
    load(tmp_path, VALID, DEPLOY, REGISTRY="r", REG_USER="u", REG_PASSWORD="p").whole("production")


def test_an_api_key_that_is_empty_is_refused_where_somebody_goes_there(tmp_path):
    given = {"REGISTRY": "r", "REG_USER": "u"}
    loaded = load(tmp_path, VALID, DEPLOY, REG_PASSWORD="", **given)
    loaded.whole("local")
    with pytest.raises(ConfigError, match="variable REG_PASSWORD is empty"):
        loaded.whole("production")
    loaded = load(tmp_path, VALID, DEPLOY.replace(":-none", ":-"), REG_PASSWORD="p", **given)
    with pytest.raises(ConfigError, match="variable LOCAL_KEY is empty"):
        loaded.whole("local")
    said = problems(tmp_path, VALID, DEPLOY, sets=["deploy.local.api_key="], REG_PASSWORD="p", **given)
    assert said[0][0] == "CFG_VALUE"
    assert "the key is empty" in said[0][1]


@pytest.mark.parametrize(
    ("image", "says", "todo"),
    [
        ("reg.example.com/ML/Houses", "'reg.example.com/ML/Houses' is no name of an image", "lower case"),
        ("https://reg.example.com/houses", "is no name of an image", "registry.example.com/ml/houses"),
        ("houses:1", "'houses:1' has a tag", "write houses:"),
        ("localhost:5000/ml/houses:latest", "has a tag", "write localhost:5000/ml/houses:"),
        ("houses one", "is no name of an image", "lower case"),
    ],
)
def test_a_name_that_no_image_can_have_is_refused(tmp_path, image, says, todo):
    found = problems(tmp_path, VALID, DEPLOY.replace("${REGISTRY}/flights", image))
    assert found[0][0] == "CFG_VALUE"
    assert says in found[0][1]
    assert todo in found[0][2]


@pytest.mark.parametrize(
    "image", ["houses", "localhost/a", "localhost:5000/a_b/c--d", "Reg.Example.com/ml/x", "[::1]:5000/a"]
)
def test_names_of_images(tmp_path, image):
    loaded = load(tmp_path, VALID, DEPLOY, sets=[f"deploy.production.image={image!r}"])
    assert loaded.config.deploy["production"].image == image


def test_an_empty_variable_in_the_name_of_an_image_matters_to_who_deploys_alone(tmp_path):
    assert load(tmp_path, VALID, DEPLOY, REGISTRY="").config.deploy["production"].image == "/flights"


def test_a_secret_that_is_written_out_is_not_recorded(tmp_path):
    sets = ["deploy.local.api_key=hunter2", "deploy.production.registry={user: me, password: hunter2}"]
    recorded = load(tmp_path, VALID, DEPLOY, sets=sets, REGISTRY="r", REG_PASSWORD="p").recorded("deploy")
    assert "hunter2" not in str(recorded)
    assert recorded["deploy"]["production"]["registry"]["user"] == "me"
    assert recorded["deploy"]["production"]["api_key"] == "${REG_PASSWORD}"


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\n"])
def test_an_api_key_that_no_header_carries_is_refused_and_not_shown(tmp_path, key):
    said = problems(tmp_path, VALID, DEPLOY, REGISTRY="r", REG_USER="u", REG_PASSWORD="p", LOCAL_KEY=key)
    assert "no HTTP header carries" in said[0][1]
    assert key not in str(said)


def test_a_key_of_truth_or_text_takes_both_from_the_command_line(tmp_path):
    more = "deploy: {one: {target: container, port: 8000}}\n"
    for text, value in (("false", False), ("true", True), ("haproxy:3", "haproxy:3")):
        loaded = load(tmp_path, VALID, more, sets=[f"deploy.one.gateway={text}"])
        assert loaded.config.deploy["one"].gateway == value


def test_an_unset_variable_elsewhere_is_an_error_at_once(tmp_path):
    assert problems(tmp_path, VALID.replace("data.csv", "${SOURCE}"), DEPLOY)[0][0] == "CFG_ENV_UNSET"
    found = problems(tmp_path, VALID, DEPLOY.replace("8001", "${PORT}"))
    assert found[0][1:] == (
        "19: deploy.production.port: expected a whole number, got '${PORT}'",
        "set PORT to what is expected",
    )


def test_two_environments_on_one_port(tmp_path):
    found = problems(tmp_path, VALID, "deploy: {a: {target: process, port: 8000}, b: {target: process, port: 8000}}")
    assert "port 8000 is that of a too" in found[0][1]


@pytest.mark.parametrize("digits", ["9" * 19, "-" + "9" * 250, "9" * 5000, "0x" + "f" * 40])
@pytest.mark.parametrize("key", ["model.seed", "data.split.seed", "data.columns.id.min", "model.params.C"])
def test_whole_numbers_beyond_64_bits(key, digits, tmp_path):
    if digits == "9" * 5000 and key == "model.params.C":
        load(tmp_path, sets=[f"{key}={digits}"])  # text, which the estimator refuses
        return
    found = problems(tmp_path, sets=[f"{key}={digits}"])
    assert {code for code, _, _ in found} == {"CFG_VALUE"}
    assert all(len(what) < 300 for _, what, _ in found)


def test_a_large_bound_of_a_number_column_is_taken(tmp_path):
    assert load(tmp_path, sets=["data.columns.delay.max=" + "9" * 30]).config.data.columns["delay"].max == 1e30
