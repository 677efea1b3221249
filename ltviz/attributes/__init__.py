"""Many attributes at once, one head for each on a shared network: `train_attributes` gives an `AttributeRun`."""

from .ask import RECIPE, Curriculum
from .network import AttributeNet
from .recorded import BANDS, compare, plain, recorded
from .run import AttributeRun, load_attribute_run
from .train import train_attributes

__all__ = [
    "BANDS", "RECIPE", "AttributeNet", "AttributeRun", "Curriculum", "compare", "load_attribute_run", "plain",
    "recorded", "train_attributes",
]  # fmt: skip
