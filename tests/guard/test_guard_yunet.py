"""A detector of one's own through OpenCV: a network written here with YuNet's twelve outputs, which takes red squares for faces."""

from __future__ import annotations

import json

import numpy as np
import pytest

from armillary import guard, media
from armillary.cli.main import run
from armillary.errors import BadInput, Failed
from armillary.guard.centerface import iou
from armillary.guard.faces import Faces
from armillary.guard.yunet import VARIABLE, YuNet

onnx = pytest.importorskip("onnx", reason='onnx is not installed: pip install "armillary[guard]"')
pytest.importorskip("cv2", reason="OpenCV is not installed")


def network(path, strides=(8, 16, 32), bad=False):
    """YuNet's outputs: at stride 32 a cell that is red throughout is a face of 32 x 32 pixels at that cell, elsewhere is none."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, outputs, constants = [], [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    # BGR in, 0 to 255: (red - blue - green) / 255 is above one half for red alone.
    kernel = constant("k", np.array([-1, -1, 1], np.float32).reshape(1, 3, 1, 1) / 255)
    nodes.append(helper.make_node("Conv", ["input", kernel], ["red"]))
    shape = constant("shape1", np.array([1, -1, 1], np.int64))
    for s in strides:
        nodes.append(helper.make_node("AveragePool", ["red"], [f"mean{s}"], kernel_shape=[s, s], strides=[s, s]))
        nodes.append(
            helper.make_node(
                "Clip", [f"mean{s}", constant(f"lo{s}", np.float32(0)), constant(f"hi{s}", np.float32(1))], [f"c{s}"]
            )
        )
        gain = constant(f"gain{s}", np.float32((np.nan if bad else 0.9) if s == 32 else 0.0))
        nodes.append(helper.make_node("Mul", [f"c{s}", gain], [f"g{s}"]))
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{kind}_{s}"
            nodes.append(helper.make_node("Reshape", [f"g{s}", shape], [name if width == 1 else f"r_{name}"]))
            if width > 1:  # zero logs of sizes: a box of one cell; its centre half a cell in
                zero = constant(f"z_{name}", np.zeros((1, 1, width), np.float32))
                half = constant(f"h_{name}", np.array([0.5, 0.5, *[0] * (width - 2)], np.float32).reshape(1, 1, width))
                nodes.append(helper.make_node("Mul", [f"r_{name}", zero], [f"m_{name}"]))
                nodes.append(helper.make_node("Add", [f"m_{name}", half], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, width]))
    order = [o for kind in ("cls", "obj", "bbox", "kps") for o in outputs if o.name.startswith(kind)]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "red", [given], order, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return network(tmp_path_factory.mktemp("yunet") / "red.onnx")


def grey(h=256, w=320):
    return np.full((h, w, 3), 127, np.uint8)


def test_boxes_are_where_they_are_in_the_pictures_own_pixels(path):
    detector = YuNet(path)
    assert detector.detect(grey()) == []
    picture = grey()
    picture[64:96, 160:192] = (255, 0, 0)
    (face,) = detector.detect(picture)
    assert iou(face.box, (160, 64, 192, 96)) > 0.95 and 0.8 < face.score < 1
    assert detector.detect(np.ascontiguousarray(picture[..., ::-1])) == [], "RGB is given, not BGR"
    large = picture.repeat(4, 0).repeat(4, 1)  # shrunk to 640 for the network, and boxes grown again; two cells a side there
    boxes = [f.box for f in detector.detect(large)]
    assert (
        len(boxes) == 4
        and min(b[0] for b in boxes) == pytest.approx(640, abs=8)
        and max(b[3] for b in boxes) == pytest.approx(384, abs=8)
    )
    small = picture[::4, ::4]  # 64 x 80, enlarged
    assert all(iou(f.box, (40, 16, 48, 24)) > 0.3 for f in detector.detect(small))
    odd = detector.detect(picture[:251, :317])
    assert len(odd) == 1 and iou(odd[0].box, face.box) > 0.95, "a size that is no multiple of 32"
    again = detector.detect(picture)
    assert again == [face], "a picture of another size before leaves nothing behind"


def test_the_same_tracks_hide_them(path):
    frames = np.stack([grey() for _ in range(9)])
    for t in range(9):
        if t not in (4, 6):  # two that are looked at and not found
            frames[t, 96:128, 64:96] = (255, 0, 0)
    finding = Faces(YuNet(path)).check(frames, 10.0)
    assert finding.facts == {"tracks": 1, "frames_with_faces": 9} and finding.frames is not None
    assert Faces(YuNet(path)).tracks(finding.frames) == [] and Faces(YuNet(path)).version.startswith("1+yunet-1@0.6+")


def test_missing_and_foreign_files_are_named(path, tmp_path):
    with pytest.raises(BadInput, match=r"none\.onnx"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    two = network(tmp_path / "two.onnx", strides=(8, 16))
    for foreign in (tmp_path / "text.onnx", two):
        with pytest.raises(BadInput, match="layout"):
            YuNet(foreign)
    with pytest.raises(BadInput, match="between 0 and 1"):
        YuNet(path, threshold=2)


def test_a_file_of_another_network_is_named():
    from armillary.errors import MissingExtra
    from armillary.guard.centerface import find_onnx

    try:
        other = find_onnx()
    except MissingExtra as error:
        pytest.skip(str(error))
    with pytest.raises(BadInput, match="layout"):
        YuNet(other)


def test_nonsense_from_the_detector_raises(path, monkeypatch):
    detector = YuNet(path)

    class Nonsense:
        rows: object = None

        def setInputSize(self, size):
            pass

        def detect(self, picture):
            return 1, self.rows

    detector._net = Nonsense()
    for rows in (np.zeros((1, 4), np.float32), np.full((1, 15), np.nan, np.float32)):
        detector._net.rows = rows
        with pytest.raises(Failed, match="face detector"):
            detector.detect(grey())


def test_on_the_command_line_and_from_the_environment(path, tmp_path, monkeypatch, capsys):
    frames = np.stack([grey(64, 96)] * 5)
    frames[:, :, :48] = np.arange(48, dtype=np.uint8)[:, None]
    for t in range(5):
        frames[t, 30:34, 10 * t : 10 * t + 4] = 255
    media.write_video(tmp_path / "a.mp4", frames, 10.0)
    assert run(["guard", "check", "--video", str(tmp_path / "a.mp4"), "--faces-model", str(path), "--json"]) == 0
    assert "yunet" in json.loads(capsys.readouterr().out)["verdicts"][-1]["version"]
    assert run(["guard", "check", "--video", str(tmp_path / "a.mp4"), "--faces-model", str(tmp_path / "none.onnx")]) == 2
    monkeypatch.setenv(VARIABLE, str(path))
    assert "yunet" in guard.default_gate().after[-1].version
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.onnx"))
    with pytest.raises(BadInput, match=r"none\.onnx"):
        guard.default_gate()
