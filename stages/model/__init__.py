"""From typed tables to a fitted pipeline that is saved, described and measured.

The modules are imported one by one: `metrics` and `signature` need numpy alone, the rest scikit-learn and pandas.
"""
