"""gpulr: logistic regression as fast as the hardware can read the data, on NumPy or CuPy arrays."""

__version__ = "0.1.0"

from gpulr.datasets import Dataset, load_dataset
from gpulr.model_file import Model, load_model, save_model
from gpulr.training import Training, train

__all__ = ["Dataset", "Model", "Training", "load_dataset", "load_model", "save_model", "train"]
