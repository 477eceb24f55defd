"""The ray caster: geometry against closed forms, and its shortcuts against doing all the work."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.sims import optics
from armillary.sims.light import Light, Material
from armillary.sims.raycast import Raycaster
from armillary.sims.tabletop import Tabletop
from armillary.types import Camera

mujoco = pytest.importorskip("mujoco")

SCENE = """
<mujoco><worldbody>
  <camera name="above" pos="0 0 2" xyaxes="1 0 0 0 1 0" fovy="50"/>
  <geom name="ground" type="plane" size="5 5 0.1" rgba="0.6 0.6 0.6 1"/>
  <body name="ball" pos="0.3 0.2 0.5"><freejoint/><geom name="ball" type="sphere" size="0.2" group="1" rgba="0.9 0.1 0.1 1"/></body>
  <body name="rod" pos="-0.4 -0.3 0.3"><freejoint/><geom name="rod" type="capsule" fromto="-0.3 0 0 0.3 0.1 0.1" size="0.03" group="2"
    rgba="0.1 0.1 0.9 1"/></body>
</worldbody></mujoco>"""
OVERHEAD = Light(position=(0.3, 0.2, 3.0), radius=0.0)


def build(light=OVERHEAD, smooth=True, **materials):
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return Raycaster(model, data, materials, light, smooth), model, data


def test_depth_of_a_plane_and_a_sphere():
    rays, model, data = build()
    picture = rays.render(optics.view(model, data, "above", 65))
    ground = model.geom("ground").id
    assert np.allclose(picture.depth[picture.geom == ground], 2.0, atol=1e-5)
    ball = picture.geom == model.geom("ball").id
    assert abs(picture.depth[ball].min() - (2.0 - 0.7)) < 0.01
    # A sphere of radius r at distance d shows the disc tan(asin(r / d)) about its centre, slightly stretched off axis.
    focal = 65 / 2 / np.tan(np.deg2rad(25))
    away = np.linalg.norm([0.3, 0.2, 1.5])
    disc = np.pi * (focal * np.tan(np.arcsin(0.2 / away))) ** 2
    assert abs(ball.sum() - disc) < 0.15 * disc


def test_projection_inverts_rays():
    _, model, data = build()
    view = optics.view(model, data, "above", 40)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 40, (2, 30))
    points = view.pose[:3, 3] + optics.through(view, x, y) * rng.uniform(0.5, 3, (30, 1))
    assert np.allclose(optics.project(view, points), np.stack([x, y], 1))
    assert np.isnan(optics.project(view, view.pose[:3, 3] + [0, 0, 1.0])).all()  # behind


def test_world_directions_fall_where_opencv_says():
    _, model, data = build()
    view = optics.view(model, data, "above", 40)  # looks down; its up is +y
    right, up = optics.project(view, np.array([[0.3, 0.0, 0.0], [0.0, 0.3, 0.0]]))
    assert right[0] > 20 and right[1] == pytest.approx(20) and up[1] < 20 and up[0] == pytest.approx(20)


def test_a_shadow_falls_under_the_ball():
    rays, model, data = build(smooth=False)
    view = optics.view(model, data, "above", 64)
    picture = rays.render(view)
    # The lamp hangs over the ball: on the ground its shadow is a disc about (0.3, 0.2), of radius 0.2 * 3 / sqrt(2.5^2 - 0.2^2).
    radius = 0.2 * 3.0 / np.sqrt(2.5**2 - 0.2**2)
    inside = optics.project(view, np.array([0.3 - 0.93 * radius, 0.2 - 0.3 * radius, 0.0]))
    outside = optics.project(view, np.array([0.3 - 1.15 * radius, 0.2 - 0.3 * radius, 0.0]))
    dark, lit = (picture.rgb[int(p[1]), int(p[0])].astype(int) for p in (inside, outside))
    ground = model.geom("ground").id
    assert all(picture.geom[int(p[1]), int(p[0])] == ground for p in (inside, outside))
    assert dark.sum() < 0.8 * lit.sum()


def test_bounding_spheres_never_cost_a_pixel(monkeypatch):
    sim = Tabletop()
    for seed in (0, 1):
        sim.reset(seed)
        for _ in range(4):
            sim.step([0.7, -0.5])
        quick = sim.render(sim.cameras, 64)
        with monkeypatch.context() as patch:
            patch.setattr(Raycaster, "_near", lambda self, origin, dirs, groups=None: np.ones(len(dirs), bool))
            thorough = sim.render(sim.cameras, 64)
        assert all((quick[c] == thorough[c]).all() for c in quick)


def test_what_is_kept_of_earlier_pictures_changes_nothing():
    a, b = Tabletop(), Tabletop()
    for sim in (a, b):
        sim.reset(5)
        for _ in range(3):
            if sim is a:
                sim.render(sim.cameras, 48)
            sim.step([-0.6, 0.4])
    first, second = a.render(a.cameras, 48), b.render(b.cameras, 48)
    assert all((first[c] == second[c]).all() for c in first)


def test_smoothing_softens_edges_and_leaves_flats_alone():
    rays, model, data = build()
    view = optics.view(model, data, "above", 64)
    soft = rays.render(view)
    rays.smooth = False
    rays.kept.clear()
    hard = rays.render(view)
    changed = (soft.rgb != hard.rgb).any(-1)
    assert 0.01 < changed.mean() < 0.3 and (soft.geom == hard.geom).all()
    # A quarter-size hard picture is nearer to the average of a fine one when edges are smoothed.
    rays.kept.clear()
    fine = rays.render(optics.view(model, data, "above", 512)).rgb.reshape(64, 8, 64, 8, 3).mean((1, 3))
    assert np.abs(soft.rgb - fine).mean() < 0.7 * np.abs(hard.rgb - fine).mean()


def test_materials_show():
    plain, model, data = build()
    view = optics.view(model, data, "above", 32)
    textured, *_ = build(ground=Material("checker", scale=0.4, strength=0.3))
    assert textured.render(view).rgb.std() > plain.render(view).rgb.std() + 2


def test_pictures_need_not_be_square():
    rays, model, data = build()
    square = optics.view(model, data, "above", 32)
    k = square.intrinsics.copy()
    k[0, 2] = 24.0
    picture = rays.render(Camera("wide", 48, 32, k, square.pose))
    assert picture.rgb.shape == (32, 48, 3)
    assert (picture.rgb[:, 8:40] == rays.render(square).rgb).mean() > 0.98
