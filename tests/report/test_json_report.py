"""The JSON report: the manifest's keys, without its longest list."""

from __future__ import annotations

import json
from dataclasses import fields

from edgeds.report.json_report import bundle_json
from edgeds.spec import Bundle, Manifest


def test_it_has_every_key_of_the_manifest_and_where_the_bundle_is(lite0_bundle: Bundle) -> None:
    content = bundle_json(lite0_bundle)
    assert set(content) == {f.name for f in fields(Manifest)} | {"bundle", "violations"}
    assert content["schema_version"] == 1
    assert content["bundle"] == "out/efficientnet_lite0"
    assert content["model"]["parameters"] == 4652008


def test_it_says_where_the_quantization_of_each_tensor_is(lite0_bundle: Bundle) -> None:
    count = len(lite0_bundle.manifest.quantization)
    assert bundle_json(lite0_bundle)["quantization"] == {"n_tensors": count, "listed_in": "manifest.json"}


def test_it_is_valid_json_in_which_infinity_is_a_string(lite0_bundle: Bundle) -> None:
    content = bundle_json(lite0_bundle)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    drift = {(r["subject"], r["reference"]): r for r in content["drift"]}
    assert drift["tflite-fp32@litert", "float"]["sqnr_db"] == "Infinity"
    assert drift["executorch-int8@executorch", "float"]["sqnr_db"] == 17.93


def test_an_artifact_has_the_name_that_drift_speaks_of(lite0_bundle: Bundle) -> None:
    content = bundle_json(lite0_bundle)
    names = {artifact["name"] for artifact in content["artifacts"]}
    assert names == {r["subject"].split("@")[0] for r in content["drift"]} - {"pt2e"}


def test_violations_are_null_where_nothing_was_judged(lite0_bundle: Bundle) -> None:
    assert bundle_json(lite0_bundle)["violations"] is None
    assert bundle_json(lite0_bundle, ())["violations"] == []
    assert bundle_json(lite0_bundle, ("SQNR too low",))["violations"] == ["SQNR too low"]
