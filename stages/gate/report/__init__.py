"""The report of a verdict: HTML, a style sheet and SVG files that stand beside each other.

Jenkins shows artefacts under `sandbox; default-src 'none'; img-src 'self'; style-src 'self'`: no script, no inline
style, no data: images. `charts` draws with attributes alone, once for light and once for dark pages.
"""

from stages.gate.report.page import Facts, write

__all__ = ["Facts", "write"]
