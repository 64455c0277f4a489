"""`commit --change` and `import --change`: Dockerfile lines on a config."""

from __future__ import annotations

import pytest

from onggi.build.changes import apply_changes
from onggi.errors import InvalidArgument
from onggi.oci.image import RunConfig

BASE = RunConfig(env=["PATH=/bin", "A=1"], cmd=["old"], working_dir="/w", labels={"k": "v"})


@pytest.mark.row("I-057")
def test_lines_change_a_config_as_the_classic_builder_does() -> None:
    changed = apply_changes(
        BASE,
        [
            'ENV A=2 B="x y" C=${A}', "label k2=v2", "WORKDIR deep", "EXPOSE 80 53/udp", 'VOLUME ["/a", "/b"]', "USER 7:8", "STOPSIGNAL SIGINT",
            "ONBUILD RUN true", "HEALTHCHECK --interval=5s CMD curl localhost", 'ENTRYPOINT ["/e"]',
        ],
    )  # fmt: skip
    assert changed.env == ["PATH=/bin", "A=2", "B=x y", "C=1"]
    assert (changed.labels, changed.working_dir, changed.user) == ({"k": "v", "k2": "v2"}, "/w/deep", "7:8")
    assert set(changed.exposed_ports or ()) == {"80/tcp", "53/udp"}
    assert set(changed.volumes or ()) == {"/a", "/b"}
    assert (changed.stop_signal, changed.on_build) == ("SIGINT", ["RUN true"])
    assert changed.healthcheck
    assert (changed.healthcheck.test, changed.healthcheck.interval) == (["CMD-SHELL", "curl localhost"], 5 * 10**9)
    assert (changed.entrypoint, changed.cmd) == (["/e"], None)
    both = apply_changes(BASE, ["CMD new word", 'ENTRYPOINT ["/e"]'])
    assert (both.entrypoint, both.cmd) == (["/e"], ["/bin/sh", "-c", "new word"])
    assert apply_changes(BASE, []) is BASE


@pytest.mark.row("I-057")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RUN true", "RUN is not a valid change command"),
        ("copy a b", "copy is not a valid change command"),
        ("ENV A=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("ENV A", "ENV must have two arguments"),
        ("EXPOSE x", "invalid"),
        ("STOPSIGNAL NOPE", "NOPE"),
        ("", "file with no instructions"),
    ],
)
def test_lines_that_cant_change_a_config_are_refused_in_dockers_words(line: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        apply_changes(BASE, [line])
    assert said in str(refused.value)
    assert "line" not in str(refused.value)
