"""Training: a YAML configuration in, weights that the rest of frnet reads out. ``pip install frnet[train]``."""

from .config import TrainConfig
from .config_files import ConfigError, builtin_configs, dump_config, load_config
from .run import train
from .run_folder import RunFolder, TrainingError
from .trainer import TrainResult

__all__ = [
    "ConfigError",
    "RunFolder",
    "TrainConfig",
    "TrainResult",
    "TrainingError",
    "builtin_configs",
    "dump_config",
    "load_config",
    "train",
]
