"""The gate: whether a model may be deployed, and why.

`outcome` says what a rule returns, `bounds`, `baselines`, `leakage`, `gap`, `champion`, `slices`, `drift` and
`budget` are the rules, `verdict` puts them together. Every rule is a pure function of answers and data; reading and
writing is `evidence`, `stages/validate.py` and `report`.
"""
