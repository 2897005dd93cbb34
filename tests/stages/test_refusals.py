"""Wrong input of every kind: the exit code, the error code, and a message that says what to do."""

import pytest


def edit(old, new):
    return lambda r: r.change(old, new)


def data(text):
    return lambda r: r.write("data.csv", text)


def both(*steps):
    def act(r):
        for step in steps:
            step(r)

    return act


HEAD = "id,size,kind,built,sold\n"
GOOD = "".join(f"{i},{50 + i % 100},flat,2001-01-01,{'true' if i % 2 else 'false'}\n" for i in range(200))
TRANSFORM = edit("  max_bad", "  transform: mine:f\n  max_bad")
PREPROCESS = edit("LogisticRegression", "LogisticRegression\n  preprocess: mine:f")


def mine(text):
    return lambda r: r.write("mine.py", text)


CASES = {
    # ---- usage
    "no such command": ([], ["trian"], 2, "CFG_USAGE", "train"),
    "no such option": ([], ["train", "--verify"], 2, "CFG_USAGE", "--verify-reproducible"),
    "no such folder": ([], ["-C", "nowhere", "run"], 2, "CFG_USAGE", "folder"),
    "no such file": ([], ["--config", "other.yaml", "check"], 2, "CFG_FILE", "init"),
    "no such stage": ([], ["explain", "trian"], 2, "CFG_USAGE", "train"),
    "no such environment": ([], ["run", "--env", "prod"], 2, "CFG_USAGE", "environment"),
    "set without a value": ([], ["check", "--set", "name"], 2, "CFG_SET", "write"),
    "set of an unknown key": ([], ["check", "--set", "data.sorce=x"], 2, "CFG_UNKNOWN_KEY", "source"),
    "deploy without an environment": ([], ["deploy"], 2, None, "deploy"),
    "rollback without an environment": ([], ["rollback"], 2, None, "deploy"),
    "init without data": ([], ["init", "nope.csv", "--target", "x"], 2, "CFG_FILE", "file"),
    "init over what is there": ([], ["init", "data.csv", "--target", "sold"], 2, "CFG_EXISTS", "--force"),
    "init with a wrong target": ([], ["init", "data.csv", "--target", "solt", "--force"], 2, "CFG_USAGE", "sold"),
    "init from a folder": ([lambda r: r.write("rows/a.csv", "x,y\n1,2\n")], ["init", "rows", "--target", "x", "--force"], 2, "CFG_FILE", "rows/a.csv"),
    "predict a folder": ([], ["predict", "."], 2, "CFG_FILE", "for example data.csv"),
    "predict a folder without data": ([lambda r: r.write("notes/a.md", "")], ["predict", "notes"], 2, "CFG_FILE", "name a file"),
    "predict what is not there": ([], ["predict", "dat.csv"], 2, "CFG_FILE", "did you mean data.csv?"),
    "predict an unknown suffix": ([], ["predict", "ml.yaml"], 3, "DAT_FORMAT", "ends in one of: .csv"),
    "drift of an unknown suffix": ([], ["drift", "ml.yaml"], 3, "DAT_FORMAT", "ends in one of: .csv"),
    "predict into an unknown suffix": ([], ["predict", "data.csv", "-o", "x.txt"], 2, "CFG_USAGE", ".csv.gz"),
    "predict into a folder": ([], ["predict", "data.csv", "-o", "."], 2, "CFG_USAGE", "predictions.csv"),
    "pack into a folder": ([], ["pack", "."], 2, "CFG_FILE", "mlci.tar"),
    "unpack a folder": ([], ["unpack", "."], 2, "CFG_FILE", "is a folder"),
    "unpack what is not there": ([], ["unpack", "nope.tar"], 2, "CFG_FILE", "pack"),
    # ---- configuration
    "broken YAML": ([edit("name: houses", "name: [")], ["check"], 2, "CFG_YAML", "YAML"),
    "a key twice": ([edit("task:", "task: regression\ntask:")], ["check"], 2, "CFG_DUPLICATE_KEY", "one"),
    "an unknown key": ([edit("store:", "stroe:")], ["check"], 2, "CFG_UNKNOWN_KEY", "store"),
    "a missing key": ([edit("task: classification\n", "")], ["check"], 2, "CFG_MISSING_KEY", "task"),
    "an unset variable": ([edit("store: store", "store: ${NOT_SET_ANYWHERE}")], ["check"], 2, "CFG_ENV_UNSET", "NOT_SET"),
    "an unknown metric": ([edit("roc_auc", "roc_acu")], ["check"], 2, "CFG_METRIC", "roc_auc"),
    "a metric of the other task": ([edit("roc_auc", "r2")], ["check"], 2, "CFG_METRIC", "use one of"),
    "an unknown estimator module": ([edit("sklearn.linear_model", "sklaern.linear_model")], ["check"], 2, "CFG_ESTIMATOR", ""),
    "an unknown estimator": ([edit("LogisticRegression", "LogisticRegresion")], ["check"], 2, "CFG_ESTIMATOR", "LogisticRegression"),
    "an unknown parameter": ([edit("LogisticRegression", "LogisticRegression\n  params: {max_itr: 5}")], ["check"], 2, "CFG_ESTIMATOR", "max_iter"),
    "a regressor for classes": ([edit("LogisticRegression", "LinearRegression")], ["check"], 2, "CFG_ESTIMATOR", ""),
    "a missing function": ([TRANSFORM], ["check"], 2, "CFG_IMPORT", "mine.py"),
    "a misspelt function": ([TRANSFORM, mine("def ff(x): return x\n")], ["check"], 2, "CFG_IMPORT", "ff"),
    "a module with a syntax error": ([TRANSFORM, mine("def f(:\n")], ["check"], 2, "CFG_IMPORT", "correct"),
    "a module that needs another": ([TRANSFORM, mine("import nosuchmodule\n")], ["check"], 2, "CFG_IMPORT", "requirements"),
    "a module that exits when imported": ([TRANSFORM, mine("raise SystemExit(0)\n")], ["prepare"], 2, "CFG_IMPORT", "SystemExit"),
    "an estimator's module that exits": ([edit("sklearn.linear_model.LogisticRegression", "mine.L"), mine("raise SystemExit(0)\n")], ["check"], 2, "CFG_ESTIMATOR", "SystemExit"),
    "a transform that exits": ([TRANSFORM, mine("def f(frame): raise SystemExit(0)\n")], ["prepare"], 3, "DAT_TRANSFORM", "mine"),
    "a package for a folder that is not there": ([], ["pack", "nowhere/p.tar"], 2, "CFG_FILE", "folder"),
    "a broken reference": ([edit("store: store", "store: '${HOME'")], ["check"], 2, "CFG_REFERENCE", "${NAME}"),
    "a module called stages": ([lambda r: r.write("stages.py", "")], ["check"], 2, "CFG_SHADOWED", "rename"),
    "a test folder that is not there": ([edit("store:", "test: {unit: tests/unit}\nstore:")], ["check"], 2, "CFG_TEST_FOLDER", "make it"),
    "a requirements file that is not there": ([edit("store:", "environment: {requirements: r.txt}\nstore:")], ["check"], 2, "CFG_FILE", "r.txt"),
    # ---- data
    "no data": ([lambda r: (r.folder / "data.csv").unlink()], ["prepare"], 3, "DAT_SOURCE_MISSING", "data.csv"),
    "an empty file": ([data("")], ["prepare"], 3, "DAT_EMPTY", ""),
    "a header alone": ([data(HEAD)], ["prepare"], 3, "DAT_EMPTY", ""),
    "a header that repeats itself": ([data("id,id,kind,built,sold\n" + GOOD)], ["prepare"], 3, "DAT_HEADER", ""),
    "a column that is not there": ([data("id,siz,kind,built,sold\n" + GOOD)], ["prepare"], 3, "DAT_COLUMN_MISSING", "siz"),
    "another separator": ([data((HEAD + GOOD).replace(",", ";"))], ["prepare"], 3, "DAT_COLUMN_MISSING", "sep"),
    "another encoding": ([data((HEAD + GOOD).encode("utf-16"))], ["prepare"], 3, "DAT_ENCODING", "encoding"),
    "too many bad rows": ([data(HEAD + GOOD.replace("flat", "tent"))], ["prepare"], 3, "DAT_TOO_MANY_BAD", "quarantine"),
    "bad rows when none is allowed": ([data(HEAD + GOOD + "x,1,flat,2001-01-01,true\n"), edit("  max_bad", "  bad_rows: fail\n  max_bad")], ["prepare"], 3, "DAT_BAD_ROWS", "quarantine"),
    "a column over its tolerance": ([data(HEAD + GOOD + "900,-1,flat,2001-01-01,true\n"), edit("min: 0,", "min: 0, tolerate: 0.001,")], ["prepare"], 3, "DAT_TOLERATE", ""),
    "a target with one value": ([data(HEAD + GOOD.replace("false", "true"))], ["prepare"], 3, "DAT_SPLIT", ""),
    "a transform that raises": ([TRANSFORM, mine("def f(frame):\n    return frame['nope']\n")], ["prepare"], 3, "DAT_TRANSFORM", "mine"),
    "a transform that looks at other rows": ([TRANSFORM, mine("def f(frame):\n    frame['size'] = frame['size'] - frame['size'].mean() + 500\n    return frame\n")], ["prepare"], 3, "DAT_TRANSFORM_NOT_ROWWISE", "row"),
    "a parquet file that is none": ([edit("data.csv", "data.parquet"), lambda r: r.write("data.parquet", "no parquet")], ["prepare"], 3, "DAT_FORMAT", ""),
    "a glob without files": ([edit("data.csv", "'nope-*.csv'")], ["prepare"], 3, "DAT_SOURCE_MISSING", "nope"),
    # ---- artefacts and order
    "train before prepare": ([], ["train"], 3, "DAT_NOT_PREPARED", "mlci prepare"),
    "validate before train": ([], ["validate"], 3, None, "mlci"),
    "deploy before a verdict": ([edit("store: store", "store: store\ndeploy: {local: {target: process, port: 65001}}")], ["deploy"], 4, "DEP_NOT_APPROVED", "mlci run"),
    "pack of nothing": ([], ["pack", "p.tar"], 3, "MOD_NOTHING_TO_PACK", "mlci run"),
    "an explained rule before a verdict": ([], ["validate", "--explain", "metric.roc_auc"], 3, None, "mlci validate"),
    # ---- training
    "a preprocess that is no transformer": ([PREPROCESS, mine("def f():\n    return 5\n")], ["run"], 2, None, "transformer"),
    "a preprocess that raises": ([PREPROCESS, mine("def f():\n    raise ValueError('oh no')\n")], ["run"], None, "MOD_PREPROCESS", ""),
    "a parameter that the estimator refuses": ([edit("LogisticRegression", "LogisticRegression\n  params: {C: -1}")], ["run"], None, None, ""),
    # ---- gate
    "nothing asked of the model": ([edit("validate:\n  metrics:\n    roc_auc: {min: 0.6}\n", "")], ["run"], 4, "GATE_NOTHING_CONFIGURED", "ml.yaml"),
    "a bound that is not reached": ([edit("min: 0.6", "min: 0.9999")], ["run"], 4, None, "--explain"),
    "a test that fails": ([edit("store:", "test: {unit: t}\nstore:"), lambda r: r.write("t/test_a.py", "def test_a(): assert 0\n")], ["run"], 4, "GATE_TESTS", "junit.xml"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_wrong_input(repository, name):
    steps, words, exit_code, code, hint = CASES[name]
    for step in steps:
        step(repository)
    said = repository.run(*words)
    assert said.exit_code != 0, said.data
    assert said.exit_code in ((exit_code,) if exit_code else (2, 3, 4)), said.err
    assert "Traceback" not in said.err
    assert code is None or code in said.codes, said.data
    for error in said.data["errors"]:
        assert error["what"]
        assert error["todo"]
        assert "\n" not in error["what"] + error["todo"], error
    assert hint in said.err


def test_there_are_at_least_forty_cases():
    assert len(CASES) >= 40
