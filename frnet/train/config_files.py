"""Reading and writing the YAML files of :class:`frnet.train.TrainConfig`."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .config import TrainConfig

__all__ = ["ConfigError", "builtin_configs", "dump_config", "load_config"]

_BUILTIN = Path(__file__).parent / "configs"
_DEEPEST = 10  # files that extend one another


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file, the setting and what was wrong."""


def builtin_configs() -> list[str]:
    """Names that :func:`load_config` knows, sorted: the configurations that come with frnet."""
    return sorted(path.stem for path in _BUILTIN.glob("*.yaml") if not path.stem.startswith("_"))


def load_config(source: str | os.PathLike[str], overrides: Sequence[str] = ()) -> TrainConfig:
    """Read and check a configuration.

    A file may build on another: ``extends: other.yaml``, relative to itself, or ``extends: NAME`` of a built-in one.
    Sections are merged setting by setting; a section of another ``kind`` replaces the other's whole.

    Args:
        source: a ``.yaml`` file, or the name of a built-in configuration (:func:`builtin_configs`).
        overrides: ``"data.root=/data/300W-LP"``: a setting and its value as YAML.

    Raises:
        FileNotFoundError: no such file or name.
        ConfigError: not YAML, an unknown setting, or a value out of range; all that is wrong at once.

    Example:
        >>> load_config("tiny", ["epochs=3", "optimizer.lr=1e-3"]).epochs
        3
    """
    path = _find(source)
    settings = _read(path)
    for override in overrides:
        _override(settings, override)
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"config {path}:\n" + "\n".join(_problems(error))) from None


def dump_config(config: TrainConfig) -> str:
    """YAML text with every setting, defaults too; :func:`load_config` reads it."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _find(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.suffix not in (".yaml", ".yml") and str(source) in builtin_configs():
        return _BUILTIN / f"{source}.yaml"
    known = ", ".join(builtin_configs())
    raise FileNotFoundError(f"config {source}: no such file, and none that comes with frnet: {known}")


def _read(path: Path, depth: int = 0) -> dict[str, Any]:
    """The settings of a file and of those it extends."""
    if depth > _DEEPEST:
        raise ConfigError(f"config {path}: extends itself, or more than {_DEEPEST} files deep")
    try:
        settings = yaml.load(path.read_text("utf-8"), _Loader)  # a SafeLoader: it makes plain values alone
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is not readable YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"config {path}: expected settings, such as 'epochs: 50', got {type(settings).__name__}")
    base = settings.pop("extends", None)
    if base is None:
        return settings
    beside = path.parent / str(base)
    return _merged(_read(beside if beside.is_file() else _find(str(base)), depth + 1), settings)


def _merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return copy.deepcopy(changes)
    if "kind" in changes and changes["kind"] != base.get("kind"):
        return copy.deepcopy(dict(changes))
    merged = dict(base)
    for name, value in changes.items():
        merged[name] = _merged(base.get(name), value)
    return merged


def _override(settings: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"override {override!r}: expected SETTING=VALUE, such as optimizer.lr=0.01")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not readable YAML: {error}") from None
    *sections, last = name.split(".")
    for section in sections:
        inner = settings.get(section)
        if inner is None:
            inner = settings[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {section} is no section, it is {inner!r}")
        settings = inner
    settings[last] = _merged(settings.get(last), value)


class _Loader(yaml.SafeLoader):
    """Refuses a setting that stands twice, of which YAML would keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the setting {key.value!r} stands twice in one section", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _problems(error: ValidationError) -> list[str]:
    lines = []
    schema = TrainConfig.model_json_schema()
    kinds = _kinds(schema)
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"] if part not in kinds)
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            text = "there is no such setting" + _hint(str(problem["loc"][-1]), schema)
        elif problem["type"] == "missing":
            text = "is needed and not given"
        elif problem["type"] == "union_tag_not_found":
            text = "its kind is needed and not given"
        elif problem["type"] != "value_error":
            text += f", got {problem['input']!r}"
        lines.append(f"  {place}: {text}" if place else f"  {text}")
    return lines


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """The kinds of sections, which pydantic names in the place of a problem though no file does."""
    properties = (part.get("properties", {}) for part in schema["$defs"].values())
    return {each["kind"]["const"] for each in properties if "kind" in each}


def _hint(name: str, schema: Mapping[str, Any]) -> str:
    """What was meant, if a setting anywhere is spelled nearly so."""
    known = {each for part in (schema, *schema["$defs"].values()) for each in part.get("properties", {})}
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
