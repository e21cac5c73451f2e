"""The named sizes: each is a network of its file, with as many parameters as were published."""

import importlib
import math
import pkgutil

import keras
import pytest

import zoo.models
from zoo.backbone import Backbone, EncoderDecoderBackbone, Network
from zoo.models.vaswani import CONFIGURATIONS, VaswaniEncoderDecoder

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
    "sutskever.sutskever_2014": 384_000_000,  # section 3.4
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
    rounding = 500_000 if PUBLISHED[name] % 1_000_000 == 0 else 0
    assert parameters(network) == pytest.approx(PUBLISHED[name], abs=rounding)


def parameters(network):
    wrap = EncoderDecoderBackbone if hasattr(network, "encode") else Backbone
    with keras.StatelessScope(initialize_variables=False):  # their shapes are enough
        model = wrap(network)
    return sum(math.prod(weight.shape) for weight in model.weights)


@pytest.mark.parametrize(("name", "millions"), [("base", 65), ("big", 213)])
def test_transformers_have_the_parameters_of_table_3(name, millions):
    # Within 3 %: the paper says that its vocabulary has "about 37000" tokens, and no number of them
    # gives both of its figures.
    network = VaswaniEncoderDecoder(**CONFIGURATIONS[f"vaswani_2017_{name}"])
    assert parameters(network) == pytest.approx(millions * 1e6, rel=0.03)


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({"num_layers": 2}, 36),
        ({"num_layers": 4}, 50),
        ({"num_layers": 8}, 80),
        ({"intermediate_dim": 1024}, 53),
        ({"intermediate_dim": 4096}, 90),
    ],
)
def test_transformers_differ_from_the_base_as_in_table_3(options, millions):
    # Rows C; in differences the vocabulary is not, and both sides are rounded.
    base = CONFIGURATIONS["vaswani_2017_base"]
    more = parameters(VaswaniEncoderDecoder(**base | options)) - parameters(
        VaswaniEncoderDecoder(**base)
    )
    assert more == pytest.approx((millions - 65) * 1e6, abs=1e6)
