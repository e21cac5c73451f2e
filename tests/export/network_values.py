"""What every network of the zoo computes, on the backend of this process.

python network_values.py FILE.npz

The names are `NETWORK/CALL/NAME`: of `encode`, and of three calls of the network one after another,
each with the state after the one before.
"""

import runpy
import sys
from pathlib import Path

import numpy as np

# A row of 70 tokens, more than a chunk of linear attention; one of 2, and one of padding alone.
TOKENS = np.random.default_rng(0).integers(1, 11, (3, 70)).astype("int32")
TOKENS[np.arange(70) >= [[70], [2], [0]]] = 0
# Then single tokens, one of them padding.
CALLS = [TOKENS, np.array([[7], [8], [9]], "int32"), np.array([[2], [0], [3]], "int32")]
SOURCES = np.array([[3, 8, 4, 1], [5, 1, 0, 0], [7, 2, 1, 0]], "int32")


def values(network):
    """By call and name, of one network, as arrays."""
    from keras import ops

    state, found = network.state_spec.initial(len(TOKENS)), {}
    if hasattr(network, "encode"):
        encoded = network.zeros(SOURCES) | network.encode(SOURCES)
        found |= {f"encode/{name}": array for name, array in encoded.items()}
        state |= encoded
    for i, token_ids in enumerate(CALLS):
        logits, new = network(token_ids, state)
        found[f"{i}/logits"] = logits
        found |= {f"{i}/{name}": array for name, array in new.items()}
        state |= new
    return {name: ops.convert_to_numpy(array) for name, array in found.items()}


def main(path):
    table = runpy.run_path(str(Path(__file__).parents[1] / "small_networks.py"))
    networks = ((name, table["backbone"](name).network) for name in table["SMALL"])
    found = {f"{n}/{key}": x for n, network in networks for key, x in values(network).items()}
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
