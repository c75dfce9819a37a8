"""`edgeds sensitivity` on a user's model."""

from __future__ import annotations

import json
from collections.abc import Callable

InProcess = Callable[..., tuple[int, str, str]]
MODEL = (
    *("net.py:tiny", "--calibration", "photos"),
    *("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--resize", "36"),
)


def test_sensitivity_ranks_every_layer_and_again_from_the_cache(edgeds: InProcess) -> None:
    code, out, err = edgeds("sensitivity", *MODEL, "--json")
    assert (code, err) == (0, "a user's file that talks\n")
    content = json.loads(out)
    layers = {layer["name"]: layer for layer in content["layers"]}
    assert {"0", "3.depthwise", "3.pointwise", "4.depthwise", "4.pointwise", "4:add", "7"} < set(layers)
    ranked = [layer["sqnr_db"] for layer in content["layers"]]
    assert ranked == sorted(ranked) and content["n_samples"] == 5
    assert content["whole_db"] < ranked[0]
    assert layers["4:add"]["weights_db"] is None and layers["7"]["weights_db"] > layers["7"]["sqnr_db"]
    code, out, err = edgeds("sensitivity", *MODEL)
    assert code == 0 and out.startswith("tiny · ") and "against the float model." in out
    assert "measure layer by layer: done in 0.0 s (from the cache)" in err
