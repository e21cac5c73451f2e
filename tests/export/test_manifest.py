"""What a bundle says of the data that its model was trained on."""

import onnx

from export import manifest
from training import results


class Model:
    """As far as the manifest of one that no decoder runs asks."""

    def count_params(self):
        return 7


def test_a_bundle_says_for_whom_its_data_is(tmp_path):
    preset = tmp_path / "translator"
    row = dict.fromkeys(results.columns(translates=True), "1")
    row |= {"data": "multi30k", "split": "de-en", "command": "", "test_beam_5_bleu": "38.5"}
    results.put(preset / "results.csv", row)
    (preset / "task.json").touch()
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [None]) for name in "xy")
    same = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([same], "same", [x], [y])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    written = manifest.write(tmp_path, Model(), preset)
    assert "non-commercial research and education" in written["data"]["licence"]
    assert "Multi30K" in written["data"]["attribution"]
    assert written["data"]["split"] == "de-en"
    assert written["scores"]["test"]["beam_5_bleu"] == 38.5
