"""The tabletop: its physics, its truth, its task, and the hands that play with it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from armillary import sims
from armillary.errors import BadInput, Failed
from armillary.sims import language, scene
from armillary.sims.base import SceneObject
from armillary.sims.tabletop import SPEED, Tabletop
from armillary.sims.words.facts import Fact, Thing
from armillary.sims.words.tell import tell

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def sim():
    return Tabletop()


def test_inverse_kinematics_holds_the_tip_where_it_should(sim):
    sim.reset(0)
    for x in np.linspace(-scene.REACH[0], scene.REACH[0], 5):
        for y in np.linspace(-scene.REACH[1], scene.REACH[1], 5):
            sim.data.qpos[:4] = scene.joints(x, y)
            sim.mj.mj_kinematics(sim.model, sim.data)
            assert np.allclose(sim.tip[:2], [x, y], atol=1e-9)
            assert 0.01 < sim.tip[2] < 0.04
            assert abs(sim.data.xmat[sim.model.body("tool").id][8] - 1) < 1e-9  # upright


def test_a_command_moves_the_tip_by_what_its_unit_says(sim):
    for seed in range(3):
        sim.reset(seed)
        inward = -np.sign(sim.tip[:2])
        for direction in (np.array([inward[0], 0.0]), np.array([0.0, inward[1]])):
            sim.reset(seed)
            sim.step(direction)  # the first frame also starts the arm
            before = sim.tip[:2].copy()
            sim.step(direction)
            if not sim.touched.any():
                moved = (sim.tip[:2] - before) @ direction
                assert abs(moved - SPEED / sim.fps) < 0.15 * SPEED / sim.fps


def test_rest_is_rest(sim):
    sim.reset(3)
    places, tip = sim.places.copy(), sim.tip.copy()
    for _ in range(10):
        reward, _ = sim.step([0.0, 0.0])
    assert np.abs(sim.places - places).max() < 1e-4 and np.abs(sim.tip - tip).max() < 1e-3 and abs(reward) < 1e-4
    assert sim.facts.way("move") == "rest" and not sim.facts.of("push", "shove")


def test_objects_stay_in_the_tray_whatever_is_commanded(sim):
    rng = np.random.default_rng(0)
    for seed in range(6):
        sim.reset(seed)
        for _ in range(12):  # brute pushes towards a random object, held for long
            aim = sim.places[rng.integers(3)] - sim.tip[:2]
            for _ in range(6):
                sim.step(aim / np.abs(aim).max())
        assert (np.abs(sim.places) < scene.TRAY).all()
        assert (sim.data.xpos[sim.bodies, 2] < 0.08).all()


def test_reward_sums_to_progress_and_success_means_arrival(sim):
    sim.reset(1)
    begin = sim.left_over(*sim.goal)
    rng, total, solved = np.random.default_rng(0), 0.0, False
    for _ in range(40):
        reward, solved = sim.step(sim.policies["expert"](sim, rng))
        total += reward
        assert solved == (sim.left_over(*sim.goal) <= 0)
        if solved:
            break
    assert solved and total == pytest.approx(begin - sim.left_over(*sim.goal), abs=1e-9)
    assert total >= 0.08
    goal = sim.objects[sim.goal[0]]
    assert Fact("push", whom=Thing(goal.colour, goal.shape), way=sim.goal[1]) in sim.facts.facts


def test_truth_agrees_with_the_picture(sim):
    for seed in range(5):
        sim.reset(seed)
        labels, truth = sim.segment("front", 64), sim.truth("front", 64)
        for k in range(len(sim.objects)):
            i, j = np.nonzero(labels == k)
            assert len(i) == truth["object_area"][k] <= truth["object_full"][k]
            if truth["object_area"][k] == truth["object_full"][k]:
                centre = np.array([j.mean() + 0.5, i.mean() + 0.5])
                assert np.linalg.norm(centre - truth["object_px"][k]) < 2.0
                assert max(np.ptp(i), np.ptp(j)) + 1 >= 8
        place = truth["tip_px"]
        patch = sim.render(("front",), 64)["front"][
            int(place[1]) - 1 : int(place[1]) + 2, int(place[0]) - 1 : int(place[0]) + 2
        ]
        red, green, blue = patch.reshape(-1, 3).astype(int).T
        assert ((red > green + 50) & (blue > green + 30)).any()  # the tip is magenta


def test_hidden_is_told_when_the_arm_covers_an_object(sim):
    sim.reset(0)
    base = sim.truth("front", 64)
    assert (base["object_hidden"] == (base["object_area"] < 0.3 * base["object_full"])).all()
    # From beneath the table nothing of the objects is seen, though nothing but the table is in the way.
    sim.model.cam_pos[sim.model.camera("front").id] = (0.0, 0.0, -0.9)
    sim.model.cam_fovy[sim.model.camera("front").id] = 45.0
    sim.model.cam_quat[sim.model.camera("front").id] = (0.0, 1.0, 0.0, 0.0)
    sim.mj.mj_forward(sim.model, sim.data)
    below = sim.truth("front", 64)
    assert (below["object_area"] == 0).all() and (below["object_full"] > 20).all() and below["object_hidden"].all()


def test_contact_is_told_when_and_only_when_the_arm_touches(sim):
    sim.reset(2)
    k = 0
    assert not sim.truth()["contact"].any()
    pushed, touched = False, False
    for _ in range(24):
        before, last = sim.places.copy(), touched
        aim = sim.places[k] - sim.tip[:2]
        sim.step(aim / np.abs(aim).max())
        touched = bool(sim.touched.any())
        moved = np.hypot(*(sim.places - before).T)
        if not touched and not last:  # what was pushed may glide on for a frame
            assert moved.max() < 2e-3
        pushed |= bool(sim.touched[k]) and moved[k] > 0.01
    assert pushed


def test_experts_solve_the_task_and_fill_data_sets(sim):
    solved, contact, motion = [], [], []
    for seed in range(100, 116):
        sim.reset(seed)
        rng, done = np.random.default_rng(seed), False
        for _ in range(33):
            tip = sim.tip.copy()
            done |= sim.step(sim.policies["expert"](sim, rng))[1]
            contact.append(sim.touched.any())
            motion.append(np.hypot(*(sim.tip - tip)[:2]) > 0.004)
        solved.append(done)
    assert np.mean(solved) >= 0.85 and np.mean(contact) > 0.3 and np.mean(motion) > 0.6


def test_random_hands_do_not_solve_it(sim):
    solved = []
    for seed in range(100, 108):
        sim.reset(seed)
        rng = np.random.default_rng(seed)
        solved.append(any(sim.step(sim.policies["play"](sim, rng))[1] for _ in range(33)))
    assert np.mean(solved) < 0.5


def test_seeds_differ_and_tasks_are_possible(sim):
    seen = set()
    for seed in range(20):
        sim.reset(seed)
        assert len({o.colour for o in sim.objects}) == len({o.shape for o in sim.objects}) == 3
        assert 0.08 <= sim.left_over(*sim.goal) <= 0.24
        seen.add((sim.instruction, sim.table))
    assert len(seen) > 12


def test_bad_actions_are_worded(sim):
    sim.reset(0)
    with pytest.raises(BadInput, match="2 finite numbers"):
        sim.step([0.0])
    with pytest.raises(BadInput, match="2 finite numbers"):
        sim.step([np.nan, 0.0])
    with pytest.raises(BadInput, match="no camera 'top'"):
        sim.render(("top",), 32)
    with pytest.raises(BadInput, match="renderer"):
        Tabletop(renderer="vulkan")  # type: ignore[arg-type]


def test_facts_say_what_moved_and_who_moved_it():
    objects = [SceneObject(s, c, (0, 0, 0), (1, 1, 1)) for s, c in (("block", "red"), ("bar", "blue"), ("tee", "green"))]
    red, blue, green = (Thing(o.colour, o.shape) for o in objects)
    begin = np.array([[0.1, 0.0], [-0.1, 0.0], [0.0, -0.1]])
    now = begin + np.array([[-0.1, 0.02], [0.0, 0.0], [-0.05, 0.0]])
    told = language.facts("grey", objects, begin, now, 0.3, {2: 0}, "left")
    assert told.of("push", "shove") == (Fact("push", whom=red, way="left"), Fact("shove", red, green, "left"))
    assert told.things == (red, blue, green) and told.way("table") == "grey" and told.way("light") == "left"
    assert (
        tell(told, "plain")
        == "A robot arm on a grey table pushes the red block to the left; a blue bar and a green tee lie nearby."
    )
    assert language.facts("wooden", objects, begin, begin, 0.3).way("move") == "roam"
    assert language.direction(np.array([0.0, -0.1])) == "near"


def test_a_thing_that_only_another_touched_was_shoved(sim):
    found = 0
    for seed in range(40):
        sim.reset(seed)
        rng = np.random.default_rng(seed)
        for _ in range(25):
            sim.step(sim.policies["play"](sim, rng))
        for fact in sim.facts.of("shove"):
            names = [Thing(o.colour, o.shape) for o in sim.objects]
            assert fact.who and fact.whom and not sim.handled[names.index(fact.whom)] and fact.who != fact.whom
            found += 1
    assert found > 0


def test_an_episode_is_aligned_and_whole(sim):
    episode = sims.record_episode(sim, 7, "expert", frames=5, cameras=("front", "wrist"), size=32)
    assert len(episode) == 5 and episode.frames["front"].shape == (5, 32, 32, 3)
    assert episode.cameras[0].pose.shape == (4, 4) and episode.cameras[1].pose.shape == (5, 4, 4)
    again = Tabletop()
    again.reset(7)
    for i in range(5):
        assert (again.render(("front",), 32)["front"] == episode.frames["front"][i]).all()
        assert (again.state() == episode.states[i]).all()
        assert (again.truth()["tip"] == episode.truth["tip"][i]).all()
        reward, _ = again.step(episode.actions[i])
        assert np.float32(reward) == episode.rewards[i]
    with pytest.raises(BadInput, match="No policy"):
        sims.record_episode(sim, 0, "dance")
    with pytest.raises(BadInput, match="different cameras"):
        sims.record_episode(sim, 0, "play", cameras=("front", "front"))


def test_another_process_sees_the_same_bytes(sim):
    code = (
        "import hashlib; from armillary import sims; s = sims.make('tabletop'); "
        "e = sims.record_episode(s, 9, 'mix', 6, ('front', 'wrist'), 48); h = hashlib.sha256(); "
        "[h.update(v.tobytes()) for v in (*e.frames.values(), e.actions, e.states, *e.truth.values())]; "
        "assert 'torch' not in __import__('sys').modules; print(h.hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout for _ in range(2)]
    assert runs[0] == runs[1] and len(runs[0]) > 60


def test_opengl_draws_or_says_how_to_install_it():
    code = (
        "from armillary import sims, errors\ns = sims.make('tabletop', renderer='gl'); s.reset(0)\n"
        "try: print(s.render(('front',), 32)['front'].shape)\nexcept errors.Failed as e: print(e)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "(32, 32, 3)" in said or "apt-get install libegl1" in said
    assert issubclass(Failed, RuntimeError)


def test_a_tabletop_may_hold_fewer_things_and_says_which(sim):
    few, counts = Tabletop(fewest=1), set()
    for seed in range(12):
        few.reset(seed)
        counts.add(len(few.objects))
        assert len({o.colour for o in few.objects}) == len({o.shape for o in few.objects}) == len(few.objects)
        assert {t.colour for t in few.facts.things} == {o.colour for o in few.objects}
        sim.reset(seed)
        assert sim.objects[: len(few.objects)] == few.objects or len(few.objects) < 3
        if len(few.objects) == 3:
            assert np.array_equal(sim.places, few.places)
    assert counts == {1, 2, 3} and few.name == "tabletop-few" and sim.name == "tabletop"
    with pytest.raises(BadInput, match="fewest=4"):
        Tabletop(fewest=4)


def test_a_twin_is_one_thing_more_of_a_colour_that_is_there():
    few, twin, same = Tabletop(fewest=1), Tabletop(fewest=1, twin=True), []
    for seed in range(20):
        few.reset(seed)
        twin.reset(seed)
        *others, last = twin.objects
        assert tuple(others) == few.objects and last.colour in {o.colour for o in others}
        assert len(twin.truth()["object_area"]) == len(others) + 1
        twin.step(np.zeros(2))
        same.append(last.shape in {o.shape for o in others if o.colour == last.colour})
    assert 0 < sum(same) < 20
