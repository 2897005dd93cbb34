"""A fitted pipeline as an ONNX model that is proved to answer like it.

`export.export` does the whole of it; `stages.model.inputs`, which serving shares with it, needs numpy alone. The choice
between skl2onnx and a generator of our own, the layout of the input and its precision:
`docs/decisions/0050-onnx-own-generator.md`.
"""
