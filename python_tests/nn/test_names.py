"""What is where: a module of frnet.nn is in the file of its name."""

import inspect

import pytest
from torch import nn

import frnet.nn


@pytest.mark.parametrize("name", [name for name in frnet.nn.__all__ if inspect.isclass(getattr(frnet.nn, name))])
def test_a_module_is_in_the_file_of_its_name(name):
    kind = getattr(frnet.nn, name)
    if issubclass(kind, nn.Module):
        package, _, file = kind.__module__.rpartition(".")
        assert (package, file.replace("_", "")) == ("frnet.nn", name.lower())
