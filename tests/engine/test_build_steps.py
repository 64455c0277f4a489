"""Instructions on a real engine: what each leaves in the image's config and tree."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from onggi.build.errors import BuildFailed, DockerfileError
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument, NotFound
from tests.engine.building import archive, build, link, tree
from tests.engine.engines import add_image, needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.mark.row("F-248")
@pytest.mark.row("E-249")
def test_the_stream_says_what_dockers_classic_builder_says(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        built = await build(engine, "FROM busybox\nENV A=1\nRUN echo hello\n", t="mine:1")
        short = built.image.short_id
        base = engine.images.resolve("busybox").short_id
        assert built.steps == ["Step 1/3 : FROM busybox", "Step 2/3 : ENV A=1", "Step 3/3 : RUN echo hello"]
        assert f" ---> {base}\n" in built.said
        assert " ---> Running in " in built.said
        assert "hello\n" in built.said
        assert " ---> Removed intermediate container " in built.said
        assert built.said.endswith(f" ---> {short}\nSuccessfully built {short}\nSuccessfully tagged mine:1\n")
        assert {"aux": {"ID": built.image.id}} in built.messages
        assert engine.images.resolve("mine:1").id == built.image.id

    with_engine(tmp_path, test)


@pytest.mark.row("F-107")
@pytest.mark.row("F-109")
@pytest.mark.row("F-110")
@pytest.mark.row("F-116")
@pytest.mark.row("F-120")
def test_config_instructions_make_the_config_that_docker_makes(tmp_path: Path) -> None:
    dockerfile = """
FROM busybox
LABEL a=b c="d e"
ENV A=1 B="2 3"
ENV OLD style value
EXPOSE 80 90/udp 100-102
VOLUME /v
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --retries=3 CMD echo hi
SHELL ["/bin/sh", "-ec"]
MAINTAINER me <a@b>
ONBUILD RUN echo trigger
USER 1000:1000
CMD echo $A
ENTRYPOINT ["/bin/sh"]
"""

    async def test(engine: Engine) -> None:
        image = (await build(engine, dockerfile)).image
        run = image.config.run
        assert run.env == ["PATH=/bin:/usr/bin", "A=1", "B=2 3", "OLD=style value"]
        assert sorted(run.exposed_ports or {}) == ["100/tcp", "101/tcp", "102/tcp", "80/tcp", "90/udp"]
        assert run.cmd == ["/bin/sh", "-ec", "echo $A"]
        assert run.entrypoint == ["/bin/sh"]
        assert run.healthcheck is not None
        assert (run.healthcheck.test, run.healthcheck.interval, run.healthcheck.retries) == (
            ["CMD-SHELL", "echo hi"],
            5 * 10**9,
            3,
        )
        assert (run.labels, run.volumes, run.stop_signal) == ({"a": "b", "c": "d e"}, {"/v": {}}, "SIGTERM")
        assert (run.shell, run.on_build, run.user, image.config.author) == (
            ["/bin/sh", "-ec"], ["RUN echo trigger"], "1000:1000", "me <a@b>",
        )  # fmt: skip
        history = [step.created_by for step in image.config.history or []][1:]
        assert history[:2] == ["LABEL a=b c=d e", "ENV A=1 B=2 3"]
        assert 'CMD ["/bin/sh" "-ec" "echo $A"]' in history
        assert 'HEALTHCHECK &{["CMD-SHELL" "echo hi"] "5s" "0s" "0s" "0s" \'\\x03\'}' in history
        assert "EXPOSE [100/tcp 101/tcp 102/tcp 80/tcp 90/udp]" in history
        assert all(step.empty_layer for step in (image.config.history or [])[1:])

    with_engine(tmp_path, test)


@pytest.mark.row("F-081")
@pytest.mark.row("F-082")
@pytest.mark.row("F-083")
@pytest.mark.row("F-087")
@pytest.mark.row("F-088")
def test_copy_puts_files_where_docker_puts_them(tmp_path: Path) -> None:
    files = {"file": "plain", "d/f": "f", "d/l": link("f"), "d/sub/x": "x", "to": link("file")}
    dockerfile = """
FROM busybox
WORKDIR /w
COPY file /copied
COPY file d /multi/
COPY d /new
COPY d relative
COPY file /deep/er/
COPY --chown=1:2 --chmod=640 file /owned
COPY --chown=user file /named
COPY to /followed
COPY d/* /glob/
COPY ["file", "/a b"]
COPY --parents d/sub/x /par/
COPY --exclude=sub d /less/
"""

    async def test(engine: Engine) -> None:
        found = tree(engine, (await build(engine, dockerfile, files)).image)
        file = "644 0:0 plain"
        assert found["copied"] == file
        assert (found["multi/file"], found["multi/f"], found["multi/l"]) == (file, "644 0:0 f", "-> f")
        assert (found["new"], found["new/sub/x"]) == ("755 0:0 /", "644 0:0 x")
        assert found["w/relative/f"] == "644 0:0 f"
        assert found["deep/er/file"] == file
        assert found["owned"] == "640 1:2 plain"
        assert found["named"] == "644 1000:1000 plain"
        assert found["followed"] == file
        assert (found["glob/f"], found["glob/x"]) == ("644 0:0 f", "644 0:0 x")
        assert found["a b"] == file
        assert found["par/d/sub/x"] == "644 0:0 x"
        assert "less/f" in found
        assert "less/sub" not in found

    with_engine(tmp_path, test)


@pytest.mark.row("F-092")
@pytest.mark.row("F-090")
@pytest.mark.row("F-084")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY nope /x", "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist"),
        ("COPY no* /x/", "ok"),
        ("COPY file d /x", "When using COPY with more than one source file, the destination must be a directory and end with a /"),
        ("COPY --chown=nobody-here file /x", "nobody-here"),
        ("COPY file /etc/passwd/x", "cannot copy to non-directory"),
        ("COPY file /bin/", "ok"),
        ("COPY d /etc/passwd", "cannot copy to non-directory"),
        ("COPY over /", 'cannot overwrite directory "etc" with non-directory'),
        ("COPY ../file /x", "ok"),
        ("COPY /file /x", "ok"),
    ],
)  # fmt: skip
def test_copy_fails_in_dockers_words(tmp_path: Path, line: str, message: str) -> None:
    async def test(engine: Engine) -> None:
        files = {"file": "", "d/f": "", "over/etc": "a file where the image has a directory"}
        if message == "ok":
            await build(engine, f"FROM busybox\n{line}\n", files)
            return
        with pytest.raises(BuildFailed) as caught:
            await build(engine, f"FROM busybox\n{line}\n", files)
        assert message in str(caught.value)

    with_engine(tmp_path, test)


@pytest.mark.row("F-098")
def test_add_unpacks_archives_by_their_content_and_copies_the_rest(tmp_path: Path) -> None:
    packed = gzip.compress(archive({"in/side": "text"}))
    files = {
        "a.bin": packed,
        "b.tar": archive({"plain": "p"}),
        "not.tar.gz": "no archive",
        "gz": gzip.compress(b"x" * 2000),
    }

    async def test(engine: Engine) -> None:
        built = await build(
            engine, "FROM busybox\nADD a.bin b.tar not.tar.gz gz /t/\nADD --unpack=false b.tar /kept.tar\n", files
        )
        found = tree(engine, built.image)
        assert found["t/in/side"].endswith("text")
        assert found["t/plain"].endswith("p")
        assert found["t/not.tar.gz"].endswith("no archive")
        assert "t/gz" in found
        assert "kept.tar" in found

    with_engine(tmp_path, test)


@pytest.mark.row("F-097")
@pytest.mark.row("F-058")
def test_heredocs_are_files_for_copy_and_scripts_for_run(tmp_path: Path) -> None:
    dockerfile = """FROM busybox
ENV WHO=world
COPY <<one <<"two" /files/
hello $WHO
one
raw $WHO
two
RUN <<EOF
echo first > /first
echo second > /second
EOF
RUN <<EOF
#!/bin/cat
the text itself
EOF
RUN cat <<EOF > /third
from $WHO
EOF
"""

    async def test(engine: Engine) -> None:
        built = await build(engine, dockerfile)
        found = tree(engine, built.image)
        assert found["files/one"] == "644 0:0 hello world\n"
        assert found["files/two"] == "644 0:0 raw $WHO\n"
        assert (found["first"], found["second"]) == ("644 0:0 first\n", "644 0:0 second\n")
        assert "the text itself" in built.said
        assert found["third"] == "644 0:0 from world\n"

    with_engine(tmp_path, test)


@pytest.mark.row("F-074")
def test_a_command_that_fails_ends_the_build_with_its_code(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        said: list[str] = []
        with pytest.raises(BuildFailed) as caught:
            await build(engine, "FROM busybox\nRUN echo why; exit 3\n", said=said, t="never")
        assert str(caught.value) == "The command '/bin/sh -c echo why; exit 3' returned a non-zero code: 3"
        assert caught.value.code == 3
        assert "why\n" in "".join(said)
        with pytest.raises(NotFound):
            engine.images.resolve("never")
        with pytest.raises(BuildFailed, match="executable file not found"):
            await build(engine, 'FROM busybox\nRUN ["nothing-here"]\n')

    with_engine(tmp_path, test)


@pytest.mark.row("F-113")
@pytest.mark.row("F-080")
def test_workdir_always_makes_a_layer_whose_directories_are_the_users(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        image = (await build(engine, "FROM busybox\nWORKDIR /tmp\nWORKDIR ../a/b\nUSER 5\nWORKDIR c\n")).image
        assert image.config.run.working_dir == "/a/b/c"
        assert len(image.layers) == 4
        # /tmp is there: the layer is the well-known empty one.
        assert image.layers[1] == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
        found = tree(engine, image)
        assert (found["a"], found["a/b"], found["a/b/c"]) == ("755 0:0 /", "755 0:0 /", "755 5:5 /")

    with_engine(tmp_path, test)


@pytest.mark.row("F-042")
def test_scratch_images_hold_what_was_copied_and_nothing_else(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        image = (
            await build(engine, 'FROM scratch\nCOPY file /\nCOPY file /etc/hosts\nCMD ["/file"]\n', {"file": "x"})
        ).image
        assert tree(engine, image, below=0) == {"file": "644 0:0 x", "etc": "755 0:0 /", "etc/hosts": "644 0:0 x"}
        assert (await build(engine, "FROM scratch\n")).image.layers == []

    with_engine(tmp_path, test)


@pytest.mark.row("F-053")
def test_an_entrypoint_takes_the_bases_command_away(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        assert (await build(engine, 'FROM busybox\nENTRYPOINT ["x"]\n')).image.config.run.cmd is None
        kept = await build(engine, 'FROM busybox\nCMD ["y"]\nENTRYPOINT ["x"]\n')
        assert kept.image.config.run.cmd == ["y"]

    with_engine(tmp_path, test)


@pytest.mark.row("F-054")
def test_triggers_run_after_from_and_are_gone_in_the_result(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        await build(
            engine, "FROM busybox\nONBUILD COPY file /from-trigger\nONBUILD RUN echo triggered > /t\n", t="base"
        )
        built = await build(engine, "FROM base\nRUN cat /t\n", {"file": "content"})
        assert built.steps[1:3] == ["Step 2/4 : COPY file /from-trigger", "Step 3/4 : RUN echo triggered > /t"]
        assert "triggered\n" in built.said
        assert tree(engine, built.image)["from-trigger"] == "644 0:0 content"
        assert built.image.config.run.on_build is None

    with_engine(tmp_path, test)


@pytest.mark.row("F-029")
@pytest.mark.row("F-030")
@pytest.mark.row("F-032")
@pytest.mark.row("F-034")
@pytest.mark.row("F-035")
@pytest.mark.row("F-039")
def test_arguments_are_seen_where_docker_lets_them_be_seen(tmp_path: Path) -> None:
    dockerfile = """ARG TAG=latest
ARG G=global
FROM busybox:$TAG
RUN echo "none:$G"
ARG G
ARG A=default B=$A-more
ARG E
ENV E=env
RUN echo "$G $A $B $E $HTTP_PROXY"
"""

    async def test(engine: Engine) -> None:
        built = await build(
            engine, dockerfile, buildargs='{"A":"given","E":"arg","HTTP_PROXY":"http://p","UNUSED":"1","ALSO":null}'
        )
        assert "none:\n" in built.said
        assert "global given given-more env http://p\n" in built.said
        history = [step.created_by for step in built.image.config.history or []]
        told = 'RUN |4 G=global A=given B=given-more E=env /bin/sh -c echo "$G $A $B $E $HTTP_PROXY" # buildkit'
        assert history[-1] == told
        assert {step.comment for step in (built.image.config.history or [])[1:]} == {"buildkit.dockerfile.v0"}
        assert "[Warning] One or more build-args [ALSO UNUSED] were not consumed" in built.said
        assert "http://p" not in str(built.image.config)

    with_engine(tmp_path, test)


def test_errors_before_the_first_step_name_the_line(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        with pytest.raises(
            DockerfileError,
            match=r"^dockerfile parse error on line 2: unknown instruction: FOO \(did you mean FROM\?\)$",
        ):
            await build(engine, "FROM busybox\nFOO bar\n")
        with pytest.raises(InvalidArgument, match="cannot be empty"):
            await build(engine, "")
        with pytest.raises(InvalidArgument, match="Cannot locate specified Dockerfile: other"):
            await build(engine, "FROM busybox\n", dockerfile="other")
        with pytest.raises(InvalidArgument, match="must be within the build context"):
            await build(engine, "FROM busybox\n", dockerfile="../other")
        with pytest.raises(InvalidArgument, match=r"repository name \(library/Upper\) must be lowercase"):
            await build(engine, "FROM Upper\n")
        with pytest.raises(InvalidArgument, match='target stage "x" could not be found'):
            await build(engine, "FROM busybox\n", target="x")

    with_engine(tmp_path, test)


@pytest.mark.row("F-236")
@pytest.mark.row("F-228")
def test_labels_of_the_request_win_and_quiet_says_only_the_id(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        built = await build(engine, "FROM busybox\nLABEL a=1\n", labels='{"a":"$2","b":"3"}', q="1")
        assert built.image.config.run.labels == {"a": "$2", "b": "3"}
        assert built.said == f"{built.image.id}\n"

    with_engine(tmp_path, test)


@pytest.mark.row("F-125")
@pytest.mark.row("F-122")
def test_an_ignored_dockerfile_is_used_and_not_copied(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        built = await build(
            engine, "FROM busybox\nCOPY . /c/\n", {".dockerignore": "Dockerfile\n.dockerignore\n", "f": ""}
        )
        assert sorted(name for name in tree(engine, built.image) if name.startswith("c/")) == ["c/f"]

    with_engine(tmp_path, test)


def test_a_base_alone_gets_the_new_name(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        base = await add_image(engine, "other")
        built = await build(engine, "FROM other\n", t="again")
        assert built.image.id == base == engine.images.resolve("again").id

    with_engine(tmp_path, test)


@pytest.mark.row("R-32")
def test_nothing_is_left_of_a_build_but_its_layers(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        await build(engine, "FROM busybox\nCOPY f /f\nRUN true\n", {"f": "x"})
        with pytest.raises(BuildFailed):
            await build(engine, "FROM busybox\nRUN false\n")
        await engine.snapshots.close()
        root = engine.options.data_root
        assert os.listdir(os.path.join(root, "containers")) == []
        assert os.listdir(os.path.join(root, "ingest")) == []

    with_engine(tmp_path, test)
