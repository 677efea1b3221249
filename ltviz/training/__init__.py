"""Training: one loop for every method (`loop`), and the ways into it: `train`, `sweep`, `live`.

recipe      how a network is trained, whatever the method
request     what is asked for, checked, and the id that names it
build       what a run begins with: streams of random numbers, its network
own_network, weights, augmentation, callbacks   what a reader may bring: each checked, and named where it can matter
loop        Trainer: an epoch, a step, a stage
evaluation  what the network answers, and the Run at the end
network     the network of a run once more: model and predict
checkpoint  all that a run needs to continue
control     stop and pause, Ctrl-C
distributed one run on several processes, each with a part of every batch
kept        runs in a folder, while several are trained
live        training in the background
branch      a run that goes on in two ways
"""

from .branch import branch
from .build import parameter_groups
from .control import RunControl, Stopped, interrupts
from .evaluation import versions
from .kept import attach, prepare_folder, save, saved, say_stopped
from .live import Background, LiveRun
from .loop import Epoch, Trainer
from .progress import Progress
from .recipe import RECIPES, Recipe, find_recipe, make_data, make_recipe
from .request import Request, make_request
from .sweep import requests, sweep
from .train import train

__all__ = [
    "RECIPES", "Background", "RunControl", "Epoch", "LiveRun", "Progress", "Recipe", "Request", "Stopped", "Trainer",
    "attach", "branch", "find_recipe", "interrupts", "make_data", "make_recipe", "make_request", "parameter_groups",
    "prepare_folder", "requests", "save", "saved", "say_stopped", "sweep", "train", "versions",
]  # fmt: skip
