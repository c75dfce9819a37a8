"""The JSON report, for `--json`: the manifest without its longest list."""

from __future__ import annotations

import json
from typing import Any

from edgeds import manifest
from edgeds.spec import Bundle


def bundle_json(bundle: Bundle, violations: tuple[str, ...] | None = None) -> dict[str, Any]:
    """What `manifest.json` says, under the same keys and schema_version, ready for json.dumps (infinity is "Infinity").

    It differs in four keys: `bundle` is the folder; `violations` has a sentence for each limit that was exceeded (null
    where nothing was judged); each artifact has its `name`, that drift's subjects begin with; and `quantization`, which
    lists every tensor in the manifest, says how many there are and where.
    """
    content: dict[str, Any] = json.loads(manifest.content(bundle.manifest))
    for raw, artifact in zip(content["artifacts"], bundle.manifest.artifacts, strict=True):
        raw["name"] = artifact.name
    content["quantization"] = {"n_tensors": len(bundle.manifest.quantization), "listed_in": manifest.NAME}
    content["bundle"] = str(bundle.path)
    content["violations"] = None if violations is None else list(violations)
    return content
