"""gpulr: logistic regression as fast as the hardware can read the data, on NumPy or CuPy arrays."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from gpulr.datasets import Dataset, load_dataset
from gpulr.model_file import Model, load_model, save_model
from gpulr.training import Training, train

if TYPE_CHECKING:
    from gpulr.estimator import LogisticRegression
    from gpulr.inference import summary

__all__ = [
    "Dataset",
    "LogisticRegression",
    "Model",
    "Training",
    "load_dataset",
    "load_model",
    "save_model",
    "summary",
    "train",
]


def __getattr__(name: str) -> Any:
    """The estimator and its summary on first use: scikit-learn takes a second to import, which the rest does not need."""
    if name == "LogisticRegression":
        from gpulr.estimator import LogisticRegression

        return LogisticRegression
    if name == "summary":
        from gpulr.inference import summary

        return summary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
