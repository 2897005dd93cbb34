"""A champion that was trained when levels were kept as their source wrote them is compared on its own terms."""

import json

import pyarrow as pa

from stages.data.levels import respelled_table
from stages.gate import asking, bins, reference


def champion(folder, **features):
    """What the store holds of a model's levels; a feature is (levels, whether their spelling is recorded)."""
    listed = [
        {"name": n, "type": "category", **({"spelling": "canonical"} if recorded else {})}
        for n, (_, recorded) in features.items()
    ]
    columns = {n: {"levels": levels} for n, (levels, _) in features.items()}
    (folder / "schema.json").write_text(json.dumps({"columns": columns}))
    return {"features": [*listed, {"name": "x", "type": "number"}]}


def test_levels_are_given_back_as_it_knows_them(tmp_path):
    signature = champion(
        tmp_path,
        plan=(["0.0", "1.0", "2"], False),
        flag=(["False", "True"], False),
        new=(["1", "2"], True),
        both=(["1", "1.0"], False),
    )
    before = asking._as_trained(tmp_path, signature)
    assert before == {"plan": {"0": "0.0", "1": "1.0"}, "flag": {"false": "False", "true": "True"}}
    texts = pa.dictionary(pa.int32(), pa.string())
    table = pa.table(
        {
            "plan": pa.array(["1", "2", None, "7"]).cast(texts),
            "flag": pa.array(["true", "x", "false", None]).cast(texts),
            "new": pa.array(["1", "2", "1", "2"]).cast(texts),
        }
    )
    assert respelled_table(table, before).to_pydict() == {
        "plan": ["1.0", "2", None, "7"],
        "flag": ["True", "x", "False", None],
        "new": ["1", "2", "1", "2"],
    }


def test_levels_fall_into_the_bins_of_before():
    known = bins.of_levels({"0.0": 50, "1.0": 30, "x": 20}, 0)
    counted = [
        reference.count_column(known, [pa.chunked_array([pa.array([zero] * 5 + [one] * 3 + ["x"] * 2)])], "category")
        for zero, one in (("0.0", "1.0"), ("0", "1"))
    ]
    assert counted[0].counts.tolist() == counted[1].counts.tolist()
    assert [one.unseen for one in counted] == [0, 0]
