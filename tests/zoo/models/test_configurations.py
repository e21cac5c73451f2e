"""The named sizes: each is a network of its file, with as many parameters as were published."""

import importlib
import math
import pkgutil

import keras
import pytest

import zoo.models
from zoo.backbone import Backbone, Network

MODULES = [
    importlib.import_module(f"zoo.models.{module.name}")
    for module in pkgutil.iter_modules(zoo.models.__path__)
]
NAMED = {
    f"{module.__name__}.{name}": (module, configuration)
    for module in MODULES
    for name, configuration in getattr(module, "CONFIGURATIONS", {}).items()
}
# The recurrent papers of 2010 and 2013 give no numbers of parameters.
PUBLISHED = {
    "transformer.makemore": 204_544,  # as its README has it
    "transformer.gpt_2018": 116_534_784,  # its released weights
    "transformer.gpt2_small": 124_439_808,  # its released weights
    "lstm.zaremba_2014_medium": 20_000_000,  # in millions, as later papers give them
    "lstm.zaremba_2014_large": 66_000_000,
}


def network_of(module, configuration):
    (kind,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Network)
        and value.__module__ == module.__name__
    )
    return kind(**configuration)


@pytest.mark.parametrize("name", NAMED)
def test_a_configuration_makes_a_network(name):
    network = network_of(*NAMED[name])
    assert network.state_spec.initial(1)
    again = type(network).from_config(network.get_config())
    assert again.state_spec == network.state_spec


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    network = network_of(*NAMED[f"zoo.models.{name}"])
    with keras.StatelessScope(initialize_variables=False):  # their shapes are enough
        model = Backbone(network)
    parameters = sum(math.prod(weight.shape) for weight in model.weights)
    rounding = 500_000 if PUBLISHED[name] % 1_000_000 == 0 else 0
    assert parameters == pytest.approx(PUBLISHED[name], abs=rounding)
