"""The HTML report, read with the standard library's parser; no browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgeds.manifest import decode, encode
from edgeds.report.html import bundle_html
from edgeds.spec import Compute, Manifest, OperatorCount

VOID = {"meta", "br", "rect"}
ATTACK = '<script>alert(1)</script>"&'


@dataclass
class Page(HTMLParser):
    """Open tags, all tags with their attributes, and the text."""

    open: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def html(lite0: Manifest) -> str:
    return bundle_html(lite0)


def test_every_tag_is_closed_and_the_document_is_titled(html: str) -> None:
    page = read(html)
    assert html.startswith("<!doctype html>\n")
    assert "efficientnet_lite0 · edgeds report" in page.text
    assert page.named("html") == [{"lang": "en"}]


def test_it_asks_for_nothing_outside_of_itself_and_runs_nothing(html: str) -> None:
    page = read(html)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags for name in a if name in ("src", "href", "style") or name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_equal_manifests_give_equal_bytes(lite0: Manifest, html: str) -> None:
    assert bundle_html(decode(encode(lite0))) == html


def test_the_files_of_a_manifest_do_not_matter_for_they_are_not_known_yet(lite0: Manifest, html: str) -> None:
    assert bundle_html(replace(lite0, files={})) == html


def test_light_and_dark_have_every_colour(html: str) -> None:
    light, dark = (set(re.findall(r"--[a-z-]+(?=:)", part)) for part in html.split("prefers-color-scheme: dark")[:2])
    used = set(re.findall(r"var\((--[a-z-]+)\)", html))
    assert used == light == dark


def _luminance(color: str) -> float:
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(
    "pair",
    [
        *("text page", "muted page", "text card", "muted card", "accent card", "warn card"),
        *("good good-back", "warn warn-back", "bad bad-back"),
    ],
)
def test_text_has_the_contrast_of_wcag_aa(html: str, scheme: int, pair: str) -> None:
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", html.split("prefers-color-scheme: dark")[scheme]))
    low, high = sorted(_luminance(colors[name]) for name in pair.split())
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_every_table_header_has_its_scope_and_every_picture_its_text(html: str) -> None:
    page = read(html)
    assert {a.get("scope") for a in page.named("th")} == {"col", "row"}
    pictures = page.named("svg")
    assert len(pictures) == 4
    assert all(a["role"] == "img" for a in pictures)
    assert pictures[0]["aria-label"] == (
        "executorch int8: 65.9 % differ by 0 LSB, 32.6 % differ by 1 LSB, 1.4 % differ by 2 LSB, <0.1 % differ by 3 LSB"
    )


def test_it_says_all_that_matters(html: str) -> None:
    text = read(html).text
    for part in (
        "4,652,008",
        "w8c-a8t-histogram",
        "64 samples of photos of scikit-image",
        "3 labels: tench, goldfish, great white shark",
        "tflite-runtime 2.14.0",
        "exact",
        "37.2",
        "Warning: no --calibration given",
        "33 CONV_2D, 16 DEPTHWISE_CONV_2D",
        "1 delegate, 0 operators outside",
        "q = clamp(round(x / 0.00777816679), -128, 127)",
        "short side has 256 pixels (bicubic",
        "18 tensors",
        "32 on axis 0: 0.0011 … 0.0143",
    ):
        assert part in text, part


def test_every_artifact_has_its_sha256(lite0: Manifest, html: str) -> None:
    assert all(artifact.sha256 in html for artifact in lite0.artifacts)


def test_whatever_a_manifest_says_is_escaped(lite0: Manifest) -> None:
    model = replace(lite0.model, name=ATTACK, weights=ATTACK, labels=(ATTACK,))
    first = replace(lite0.artifacts[0], path=Path(ATTACK), notes=(ATTACK,), toolchain=(ATTACK,), outside=(ATTACK,))
    first = replace(first, operators=(OperatorCount(ATTACK, Compute.OTHER, 1),))
    tensor = replace(lite0.quantization[0], name=ATTACK, module=ATTACK)
    hostile = replace(
        lite0,
        model=model,
        recipe=ATTACK,
        artifacts=(first, *lite0.artifacts[1:]),
        quantization=(tensor,),
        warnings=(ATTACK,),
        runtimes={"litert": ATTACK},
    )
    html = bundle_html(hostile, (ATTACK,))
    page = read(html)
    assert page.named("script") == []
    assert "<script" not in html
    assert page.text.count("<script>alert(1)</script>") >= 12


def test_each_warning_stands_there_once(lite0: Manifest) -> None:
    assert read(bundle_html(replace(lite0, warnings=("few samples",) * 2))).text.count("few samples") == 1


def test_violations_are_listed_and_without_any_it_says_which_limits_held(lite0: Manifest) -> None:
    violated = read(bundle_html(lite0, ("tflite-int8@litert: SQNR 5.1 dB",))).text
    assert "1 limit exceeded" in violated
    assert "tflite-int8@litert: SQNR 5.1 dB" in violated
    assert "All limits held: int8 SQNR ≥ 10 dB" in read(bundle_html(lite0, ())).text
    unjudged = read(bundle_html(lite0)).text
    assert "All limits held" not in unjudged
    assert "Accepted are: int8 SQNR ≥ 10 dB" in unjudged


def test_a_long_histogram_keeps_all_its_elements_in_eight_bars(lite0: Manifest) -> None:
    steps = tuple((step, 10) for step in range(20))
    drift = tuple(replace(r, lsb_histogram=steps) if r.reference == "pt2e" else r for r in lite0.drift)
    label = read(bundle_html(replace(lite0, drift=drift))).named("svg")[0]["aria-label"]
    assert label is not None
    assert label.endswith("5.0 % differ by 6 LSB, 65.0 % differ by 7…19 LSB")
    assert label.count("differ by") == 8


def test_float_operators_left_in_an_int8_artifact_stand_out(lite0: Manifest) -> None:
    assert 'class="n left"' not in bundle_html(lite0)
    artifact = lite0.artifacts[0]
    left = replace(artifact, operators=(OperatorCount("Gelu", Compute.FLOAT32, 1),))
    assert 'class="n left"' in bundle_html(replace(lite0, artifacts=(left, *lite0.artifacts[1:])))


def test_a_quantized_model_without_artifacts_has_a_report_too(lite0: Manifest) -> None:
    text = read(bundle_html(replace(lite0, artifacts=(), drift=()), ())).text
    assert "0 artifacts by edgeds 0.1.0" in text
    assert "No limit applies" in text
    assert "How to use" not in text
    assert "18 tensors" in text


def test_a_float_export_without_preprocessing_has_a_report_too(lite0: Manifest) -> None:
    artifacts = tuple(a for a in lite0.artifacts if a.precision == "fp32")
    drift = tuple(r for r in lite0.drift if "fp32" in r.subject)
    model = replace(lite0.model, preprocess=None, input_shapes=((1, 40),), labels=())
    manifest = replace(
        lite0, recipe=None, calibration=None, quantization=(), artifacts=artifacts, drift=drift, model=model
    )
    text = read(bundle_html(manifest)).text
    assert "not quantized" in text
    assert "brings no preprocessing" in text
    assert "LSB, against the PT2E graph" not in text
