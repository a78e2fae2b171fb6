"""Forward noising: one process per part, joined by a product over the parts of a layout."""

from unnoise.processes.base import Process
from unnoise.processes.categorical import Categorical
from unnoise.processes.gaussian import Gaussian
from unnoise.processes.product import Product

__all__ = ["Categorical", "Gaussian", "Process", "Product"]
