"""onnxruntime without lines of its own: what goes wrong comes as an exception, and mlci reports that."""

from __future__ import annotations

from typing import Any

#: "Fatal" in onnxruntime's numbers. Errors, one below, are raised as well as written, in colors, to standard error.
_FATAL = 4


def quiet_options() -> Any:
    """Options of a session on one thread between operators that writes nothing; `onnxruntime.SessionOptions`."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)  # for what happens before a session has options
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.inter_op_num_threads = 1
    return options
