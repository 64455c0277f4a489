"""The part of YAML that machines write: everything else is refused by its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.plainyaml import PlainYamlError, parse

NVIDIA = """---
# written by nvidia-ctk cdi generate
cdiVersion: 0.5.0
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - --link
    - libcuda.so.1::/usr/lib/libcuda.so  # a comment
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
    - hostPath: '/run/it''s'
      containerPath: "/run/\\u0061 # b"
      options: [ro, "nosuid", {}]
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      major: 195
      fileMode: 0o660
  name: "0"
-
  name: all
kind: nvidia.com/gpu
"""
PARSED = {
    "cdiVersion": "0.5.0",
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "hooks": [{"args": ["nvidia-cdi-hook", "--link", "libcuda.so.1::/usr/lib/libcuda.so"], "hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}],
        "mounts": [{"hostPath": "/run/it's", "containerPath": "/run/a # b", "options": ["ro", "nosuid", {}]}],
    },
    "devices": [{"containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "major": 195, "fileMode": 0o660}]}, "name": "0"}, {"name": "all"}],
    "kind": "nvidia.com/gpu",
}  # fmt: skip


@pytest.mark.row("P-162")
def test_what_a_driver_writes_is_read() -> None:
    assert parse(NVIDIA) == PARSED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("# nothing\n", None), ("a", "a"), ("a: ", {"a": None}), ("a:\nb: ~", {"a": None, "b": None}), ("- 1\n- -2\n- 1.5\n- 0x1f", [1, -2, 1.5, 31]),
        ("- true\n- False\n- yes\n- 'true'", [True, False, "yes", "true"]), ("- - 1\n  - 2\n- - 3", [[1, 2], [3]]), ("a:\n- b: 1\n  c: 2\n- d", {"a": [{"b": 1, "c": 2}, "d"]}),
        ("{a: 1, 'b': [x, {c: d}], }", {"a": 1, "b": ["x", {"c": "d"}]}), ("[]", []), ('"a: b": c', {"a: b": "c"}), ("a: b:c #d", {"a": "b:c"}), ("a: b#c", {"a": "b#c"}),
        ("url: http://x/y?z=1", {"url": "http://x/y?z=1"}), ("- a: b\n- c", [{"a": "b"}, "c"]), ("it's: fine", {"it's": "fine"}),
    ],
)  # fmt: skip
def test_a_text_means_what_yaml_says(text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1", "line 1: an anchor is not read here"), ("a: *x", "line 1: an alias"), ("a: 1\nb: !!str x", "line 2: a tag"), ("a: |\n  x", "line 1: a block scalar"),
        ("a: 1\n---\nb: 2", "line 2: only one document"), ("\ta: 1", "line 1: a tab"), ("a: 1\n  b: 2", "line 2: it is indented otherwise"), ("a: b: c", "line 1: a mapping can't begin here"),
        ("a: 1\na: 2", "line 2: 'a' is there twice"), ("a: [1, 2", "line 1: "), ('a: "x', "line 1: a quote"), ('a: "x" y', "line 1: 'y' follows a value"), ("a:\n- b\nc", "line 3: a key is wanted"),
        ("{a: 1, a: 2}", "'a' is there twice"), ("{a}", "a key and a colon"), ('"\\x41"', "an escape"), ("[" * 100, "more than 64 levels"), ("- " * 100 + "a", "more than 64 levels"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_its_line(text: str, words: str) -> None:
    with pytest.raises(PlainYamlError) as refused:
        parse(text)
    assert words in str(refused.value)


@given(st.text(alphabet="ab:-# \n'\"[]{},&*|0\\\t", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except PlainYamlError:
        return


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_yaml(value: object) -> None:
    assert parse(json.dumps(value)) == value
