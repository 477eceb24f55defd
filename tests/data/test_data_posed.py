"""One walk, written in every convention: the same poses, intrinsics and pictures come out, and they agree with the geometry of the room."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("pyarrow")

from posed_scenes import FPS, FRAMES, SIZE, Walk, pictures, realestate, transforms

from armillary import media
from armillary.data import PosedConfig
from armillary.data.record import record
from armillary.errors import BadInput
from armillary.media.poses import read_realestate
from armillary.sims import optics
from armillary.types import Camera

OUT = (48, 64)  # of another shape than the square pictures: a crop and a change of scale
SEED = 4


@pytest.fixture(scope="module")
def walk():
    return Walk(SEED)


def clip_cut_out(root, walk):
    """RealEstate10K, the clip cut out of its source: its first frame is that of the first pose."""
    realestate(root / "train", "abc", walk, begin=1234.5)
    media.write_video(root / "train" / "abc.mp4", walk.frames, FPS, crf=8)


def whole_source(root, walk):
    """RealEstate10K, the source video whole, in a folder of its own; the poses begin at 0.6 s."""
    realestate(root / "poses", "abc", walk, begin=0.6)
    film = np.concatenate([np.zeros_like(walk.frames[:6]), walk.frames, np.zeros_like(walk.frames[:3])])
    media.write_video(root / "films" / "abc.mp4", film, FPS, crf=8)


def stamped_pictures(root, walk):
    realestate(root, "abc", walk, begin=77.0)
    pictures(root / "abc", [f"{s}.png" for s in walk.stamps(77.0)], walk.frames)


def nerfstudio(root, walk):
    names = [f"images/frame_{t + 1}.png" for t in range(FRAMES)]  # frame_2 comes before frame_10
    transforms(root / "scene", walk, names)
    pictures(root / "scene", names, walk.frames)


def dl3dv(root, walk):
    """Intrinsics of pictures four times as large, which are not there; `images_4` and an `images_8` that is too small are."""
    names = [f"images/frame_{t + 1:05d}.png" for t in range(FRAMES)]
    transforms(root / "1K" / "hash", walk, names, told=4)
    pictures(root / "1K" / "hash", [n.replace("images", "images_4") for n in names], walk.frames)
    pictures(root / "1K" / "hash", [n.replace("images", "images_8") for n in names], media.resize(walk.frames, (48, 48)))


def film_beside(root, walk):
    transforms(root / "scene", walk, [f"frame_{t:03d}.png" for t in range(FRAMES)], timed=True)
    media.write_video(root / "scene" / "any.mp4", walk.frames, FPS, crf=8)


def simulator(root, walk):
    record("rooms", root, 1, seed=SEED, frames=FRAMES, size=SIZE, workers=1)


LAYOUTS = [clip_cut_out, whole_source, stamped_pictures, nerfstudio, dl3dv, film_beside, simulator]


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda f: f.__name__)
def made(request, walk, tmp_path_factory):
    root = tmp_path_factory.mktemp("posed")
    request.param(root, walk)
    return root


def config(root, **more):
    return PosedConfig(str(root), **{"frames": 5, "size": OUT, "held_out": 0.0, **more})


def test_poses_intrinsics_and_pictures_come_out(made, walk):
    data = config(made).build()
    (entry,) = data.entries
    (camera,) = entry.cameras
    assert data.fps == FPS and entry.length == FRAMES
    np.testing.assert_allclose(camera.pose, walk.poses, atol=1e-6)
    k = np.broadcast_to(camera.intrinsics, (FRAMES, 3, 3))
    # 96 x 96, cropped to 72 x 96 (12 rows off the top), made smaller by 2/3.
    wanted = np.array([[walk.k[0, 0] / 1.5, 0, 32], [0, walk.k[1, 1] / 1.5, 24], [0, 0, 1]])
    np.testing.assert_allclose(k, np.broadcast_to(wanted, k.shape), atol=1e-6)
    difference = np.abs(data.read(entry).astype(int) - media.fit(walk.frames, OUT).astype(int))
    assert np.median(difference) <= 4 and difference.mean() < 6


def test_depth_of_one_frame_predicts_another(made, walk):
    """With the cameras of a batch, points of frame 0 land on their own colour in frame 4; with any convention mistaken they do not."""
    batch = config(made).build().batch(0, 1, 0)
    start = int(batch.keys[0].split("@")[1])
    frames = ((batch.video[0].permute(1, 2, 3, 0).numpy() + 1) * 127.5).round()
    cameras = [
        Camera("c", OUT[1], OUT[0], batch.intrinsics[0, t].double().numpy(), batch.poses[0, t].double().numpy())
        for t in range(5)
    ]
    np.testing.assert_allclose(cameras[0].pose, np.eye(4), atol=1e-6)
    i, j = np.divmod(np.arange(OUT[0] * OUT[1]), OUT[1])
    deep = walk.depth[
        :, ((i + 0.5) * 1.5 + 12).astype(int), ((j + 0.5) * 1.5).astype(int)
    ]  # the truth at every pixel that came out
    one, two = cameras[0], cameras[4]
    rays = optics.directions(one)
    points = one.pose[:3, 3] + rays * (deep[start] / (rays @ one.pose[:3, 2]))[:, None]
    at = np.floor(np.nan_to_num(optics.project(two, points), nan=-1.0)).astype(int)
    inside = ((at >= 0) & (at < (OUT[1], OUT[0]))).all(1)
    seen = at[inside, 1] * OUT[1] + at[inside, 0]
    depth = ((points[inside] - two.pose[:3, 3]) @ two.pose[:3, 2]).astype(np.float32)
    visible = np.abs(deep[start + 4][seen] - depth) < 0.04 * depth
    assert inside.mean() > 0.5 and visible.mean() > 0.8
    before, after = frames[0].reshape(-1, 3)[inside][visible], frames[4].reshape(-1, 3)[seen][visible]
    assert np.median(np.abs(before - after).mean(1)) < 5
    still = frames[4].reshape(-1, 3)[inside][visible]  # as if the camera had not moved
    assert np.abs(before - after).mean() < 0.7 * np.abs(before - still).mean()


def test_a_window_by_itself_is_the_same(made):
    roomy, tight = config(made).build(), config(made, memory=0.0).build()
    for step in range(3):
        one, two = roomy.batch(step, 2, 0), tight.batch(step, 2, 0)
        assert one.keys == two.keys and (one.video == two.video).all() and (one.poses == two.poses).all()


def test_the_rate_is_that_of_the_ticks_and_a_gap_divides(tmp_path, walk):
    stamped_pictures(tmp_path, walk)
    half = config(tmp_path, fps=5.0, frames=3).build()
    assert [e.length for e in half.entries] == [6]
    np.testing.assert_allclose(half.entries[0].cameras[0].pose, walk.poses[::2], atol=1e-6)
    every = config(tmp_path, fps=0.0).build()
    assert every.fps == pytest.approx(FPS) and every.entries[0].length == FRAMES
    path = tmp_path / "abc.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:6] + lines[8:]))  # poses 5 and 6 were lost
    data = config(tmp_path).build()
    assert [(e.key, e.length, e.group) for e in data.entries] == [
        ("abc#0", 5, "https://www.youtube.com/watch?v=abc"),
        ("abc#1", 5, "https://www.youtube.com/watch?v=abc"),
    ]
    np.testing.assert_allclose(data.entries[1].cameras[0].pose, walk.poses[7:], atol=1e-6)
    with pytest.raises(BadInput, match=r"come 8\.18 a second, too seldom for fps=25"):
        config(tmp_path, fps=25.0).build()


def test_broken_paths_are_named_and_the_others_used(tmp_path, walk, capsys):
    stamped_pictures(tmp_path, walk)
    good = (tmp_path / "abc.txt").read_text().splitlines()

    def spoiled(name, change):
        rows = [line.split() for line in good]
        change(rows)
        (tmp_path / f"{name}.txt").write_text("\n".join(" ".join(r) for r in rows))
        pictures(tmp_path / name, [f"{s}.png" for s in walk.stamps(77.0)], walk.frames)

    spoiled("mirror", lambda rows: [r.__setitem__(7, str(-float(r[7]))) for r in rows[1:]])
    spoiled("words", lambda rows: rows[4].__setitem__(9, "x"))
    spoiled("short", lambda rows: rows[3].pop())
    spoiled("nan", lambda rows: rows[3].__setitem__(12, "nan"))
    spoiled("back", lambda rows: rows.insert(2, rows.pop(5)))
    spoiled("flat", lambda rows: [r.__setitem__(1, "0") for r in rows[1:]])
    realestate(tmp_path, "alone", walk)
    realestate(tmp_path, "torn", walk)
    media.write_video(tmp_path / "torn.mp4", walk.frames, FPS)
    whole = (tmp_path / "torn.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    realestate(tmp_path, "few", walk)
    media.write_video(tmp_path / "few.mp4", walk.frames[:7], FPS)
    transforms(tmp_path / "fish", walk, ["a.png"] * FRAMES, camera_model="OPENCV_FISHEYE")
    transforms(tmp_path / "out", walk, ["../../secret.png"] * FRAMES)
    transforms(tmp_path / "wide", walk, [f"{t}.png" for t in range(FRAMES)], w=2 * SIZE)
    pictures(tmp_path / "wide", [f"{t}.png" for t in range(FRAMES)], walk.frames)
    (tmp_path / "notes.txt").write_text("not a path at all\n")
    data = config(tmp_path).build()
    said = capsys.readouterr().err
    assert {e.key for e in data.entries} == {"abc#0"} and "12 of 13 camera paths are left out" in said
    for name, why in {
        "mirror": "no rotation",
        "words": "line 5 holds something else than numbers",
        "short": "line 4 has 18 columns instead of 19",
        "nan": "matrix of frame 2 is no rotation",
        "back": "times do not rise",
        "flat": "focal lengths are not positive",
        "alone": "there is no video alone.mp4 and no folder alone/",
        "torn": "",
        "few": r"has no frame at 1.100 s",
        "fish": "OPENCV_FISHEYE is no pinhole",
        "out": "lies outside its folder",
        "wide": "of another shape than the 192x96",
    }.items():
        (line,) = [x for x in said.splitlines() if x.strip().startswith((f"{name}.txt:", f"{name}/transforms.json:"))]
        assert why in line, line
    assert "notes" not in said
    (tmp_path / "abc.txt").unlink()
    with pytest.raises(BadInput, match="None of the 12 camera paths"):
        config(tmp_path).build()


def test_lenses_that_bend_are_told(tmp_path, walk, capsys):
    names = [f"images/{t}.png" for t in range(FRAMES)]
    transforms(tmp_path, walk, names, k1=-0.2)
    pictures(tmp_path, names, walk.frames)
    config(tmp_path).build()
    assert "moves a corner by" in capsys.readouterr().err


def test_other_ways_to_say_the_focal_length(tmp_path, walk):
    names = [f"images/{t}.png" for t in range(FRAMES)]
    pictures(tmp_path, names, walk.frames)
    transforms(tmp_path, walk, names)
    plain = config(tmp_path).build().entries[0].cameras[0]
    import json

    told = json.loads((tmp_path / "transforms.json").read_text())
    for key in ("fl_x", "fl_y", "cx", "cy"):
        told.pop(key)
    told["camera_angle_x"] = 2 * np.arctan(0.5 * SIZE / walk.k[0, 0])
    (tmp_path / "transforms.json").write_text(json.dumps(told))
    np.testing.assert_allclose(config(tmp_path).build().entries[0].cameras[0].intrinsics, plain.intrinsics, atol=1e-6)


def test_clips_of_one_source_stay_on_one_side(tmp_path, walk):
    for n in range(6):
        path = realestate(tmp_path, f"c{n}", walk)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([f"https://somewhere/{n % 3}", *lines[1:]]))
        pictures(tmp_path / f"c{n}", [f"{s}.png" for s in walk.stamps()], walk.frames)
    made = config(tmp_path, held_out=0.3)
    train, held = made.build("train"), made.build("held-out")
    assert {e.group for e in train.entries}.isdisjoint(e.group for e in held.entries)
    assert len(train.entries) + len(held.entries) == 6 and train.hash == held.hash
    assert dataclasses.replace(made, frames=12).build().hash == train.hash != dataclasses.replace(made, fps=5.0).build().hash


def test_what_cannot_work_is_said(tmp_path):
    with pytest.raises(BadInput, match="no posed video"):
        config(tmp_path).build()
    with pytest.raises(BadInput, match="no folder"):
        config(tmp_path / "x").build()
    (tmp_path / "a.txt").write_text("only a line\n")
    with pytest.raises(BadInput, match="it holds no pose"):
        read_realestate(tmp_path / "a.txt")
