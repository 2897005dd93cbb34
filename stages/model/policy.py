"""What the reader's ml.yaml lets a model file be: the file itself, and the records beside it, can only be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.errors import ArtefactError

if TYPE_CHECKING:
    from stages.config import Config

FORMATS = ("skops", "joblib")
_AGAIN = "train again: mlci train"


@dataclass(frozen=True)
class Policy:
    """`format`: `model.format` of ml.yaml; a pickle is loaded only where that is joblib. `trust`: `model.trust`."""

    format: str = "skops"
    trust: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Policy:
        """The policy of a configuration."""
        return cls(config.model.format, tuple(config.model.trust))

    def check(self, signature: Any) -> None:
        """Refuse a model by what is recorded of it, before anything of it is stored, built or started.

        Raises:
            ArtefactError: MOD_RECORD, MOD_PICKLE, MOD_UNTRUSTED.
        """
        if proved(signature):
            return
        self.check_format(signature)
        more = sorted({str(name) for name in signature["model"].get("trust") or ()} - set(self.trust))
        if more and format_of(signature) == "skops":
            raise ArtefactError(
                "MOD_UNTRUSTED",
                f"the model was saved with types that model.trust in ml.yaml does not have: {', '.join(more)}",
                f"if you know them, put into ml.yaml under model: trust: [{', '.join([*self.trust, *more])}]",
            )

    def check_format(self, signature: Mapping[str, Any]) -> None:
        """Raises: ArtefactError: MOD_RECORD; MOD_PICKLE: it is a pickle, and the configuration takes none."""
        if format_of(signature) == "joblib" and self.format != "joblib":
            raise ArtefactError(
                "MOD_PICKLE",
                "model.joblib is a pickle, which can run any code when it is loaded, and model.format in ml.yaml is "
                f"{self.format!r}",
                "if you trust it, set model.format: joblib (once: --set model.format=joblib); else train again",
            )

    def words(self) -> list[str]:
        """The policy as arguments of `python -m stages.serving`."""
        return ["--model-format", self.format, *(word for name in self.trust for word in ("--trust", name))]


def proved(signature: Any) -> bool:
    """Whether the model has an ONNX file that was proved, which is what is loaded then. It runs no code.

    Raises:
        ArtefactError: MOD_RECORD: that is no signature.
    """
    onnx = signature.get("onnx") if isinstance(signature, dict) else False
    if not (onnx is None or isinstance(onnx, dict)):
        raise ArtefactError("MOD_RECORD", "signature.json is not a signature", _AGAIN)
    return bool((onnx or {}).get("proved"))


def format_of(signature: Any) -> str:
    """The format of the saved pipeline. Raises: ArtefactError: MOD_RECORD: none that there is."""
    model = signature.get("model") if isinstance(signature, dict) else None
    found = model.get("format") if isinstance(model, dict) else None
    if found not in FORMATS:
        raise ArtefactError("MOD_RECORD", f"signature.json: unknown model format {found!r}", _AGAIN)
    return str(found)


def file_of(signature: Any) -> str:
    """Name of the saved pipeline's file, whatever else the signature says. Raises: ArtefactError: MOD_RECORD."""
    return f"model.{format_of(signature)}"
