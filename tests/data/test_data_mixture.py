"""Mixtures: rows in the shares that were asked for, the same ones for any number of ranks, and members that do not fit named."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from armillary import media, tokenizers
from armillary.data import ClipsConfig, LatentsConfig, Mixture, MixtureConfig, PosedConfig, SyntheticConfig
from armillary.data.base import Encoded
from armillary.data.mixture import first_frames, joint_spec
from armillary.errors import BadInput
from armillary.presets import from_json, to_json
from armillary.tokenizers.objective import TokenizerObjective
from armillary.train import OptimConfig, RunConfig, TokenizerRun, WorldRun, loop, train
from armillary.types import ActionSpec, Batch

ONE = SyntheticConfig(episodes=6, length=12, frames=5, size=(16, 16), held_out=0.3)
TWO = dataclasses.replace(ONE, episodes=9, seed=7)
MIX = MixtureConfig((ONE, TWO), (3.0, 1.0))
SMALL = tokenizers.TokenizerConfig(
    temporal=1, video=False, channels=4, patch=4, width=16, mult=(1, 2), blocks=1, decoder_blocks=1
)


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tok") / "small"
    torch.manual_seed(0)
    tokenizers.save(tokenizers.build(SMALL), folder)
    return folder


def tensors(batch):
    return {f.name: v for f in dataclasses.fields(Batch) if isinstance(v := getattr(batch, f.name), torch.Tensor)}


def same(a, b):
    one, two = tensors(a), tensors(b)
    assert one.keys() == two.keys() and a.keys == b.keys and a.text == b.text
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_rows_come_in_the_shares_asked_for():
    data = MIX.build()
    drawn = [k[0] for step in range(300) for k in data.batch(step, 8, 0).keys]
    share = drawn.count("0") / len(drawn)
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / len(drawn))  # four standard deviations of a fair draw
    plain = dataclasses.replace(MIX, weights=()).build()  # as many as each has windows
    assert plain.shares.tolist() == pytest.approx([len(m) / len(plain) for m in plain.members])
    assert np.allclose(dataclasses.replace(MIX, weights=(30, 10)).build().shares, data.shares)


def test_each_row_is_what_its_member_gives():
    data = MIX.build()
    for step in range(4):
        batch = data.batch(step, 6, 5)
        for row, key in enumerate(batch.keys):
            number, _, rest = key.partition("/")
            assert int(number) == data.member(step, row, 5)
            alone = data.members[int(number)].batch(step, 1, 5, row)
            assert alone.keys == (rest,) and torch.equal(batch.video[row], alone.video[0])
            assert torch.equal(batch.actions[row], alone.actions[0]) and batch.text[row] == alone.text[0]


@pytest.mark.parametrize("images", [0.0, 0.5])
def test_ranks_take_the_rows_of_one_process_and_time_does_not_matter(images):
    config = dataclasses.replace(MIX, images=images, image_rows=2)
    data, again = config.build(), config.build()
    for step in (5, 0, 2, 1):
        whole = data.batch(step, 8, 1)
        same(whole, again.batch(step, 8, 1))
        parts = [data.batch(step, 4, 1, rank, 2) for rank in (0, 1)]
        joined = Batch(**{k: torch.cat([tensors(p)[k] for p in parts]) for k in tensors(whole)})
        same(
            dataclasses.replace(joined, keys=parts[0].keys + parts[1].keys, text=parts[0].text + parts[1].text),
            whole,
        )


def test_single_frames_come_in_their_share_evenly_spread():
    data = dataclasses.replace(MIX, images=0.3, image_rows=4).build()
    which = [data.is_images(step) for step in range(100)]
    assert sum(which) == 30 and max(np.diff(np.nonzero(which)[0])) == 4
    windows = MIX.build()
    for step in range(8):
        batch = data.batch(step, 2, 0)
        if which[step]:
            assert batch.video.shape == (8, 3, 1, 16, 16) and batch.actions.shape == (8, 1, 2) and batch.grid.t == 1
            assert torch.equal(batch.video, windows.batch(step, 8, 0).video[:, :, :1])
        else:
            same(batch, windows.batch(step, 2, 0))
    held = dataclasses.replace(MIX, images=1.0).build("held-out")
    assert held.batch(0, 2, 0).video.shape[2] == 5
    assert dataclasses.replace(MIX, images=1.0).build().batch(0, 2, 0).video.shape[2] == 1


def test_the_hash_covers_members_and_weights():
    base = MIX.build().hash
    assert MIX.build("held-out").hash == base
    for change in (
        {"weights": (1.0, 3.0)},
        {"weights": ()},
        {"sources": (ONE, ONE)},
        {"sources": (TWO, ONE)},
        {"images": 0.5},
        {"images": 0.5, "image_rows": 2},
    ):
        assert dataclasses.replace(MIX, **change).build().hash != base
    assert from_json(MixtureConfig, json.loads(json.dumps(to_json(MIX)))) == MIX


def test_conditions_that_only_some_know_are_left_out_and_said(tmp_path, capsys):
    rows = [f"{t * 100_000} 1 1 0.5 0.5 0 0 1 0 0 {t} 0 1 0 0 0 0 1 0" for t in range(8)]
    for i in range(3):
        for folder in ("posed", "plain"):
            media.write_video(tmp_path / folder / f"p{i}.mp4", [np.full((16, 16, 3), 40 * i, np.uint8)] * 8, 10)
        (tmp_path / "posed" / f"p{i}.txt").write_text("\n".join([f"https://somewhere/{i}", *rows]))
    posed = PosedConfig(str(tmp_path / "posed"), frames=5, size=(16, 16))
    plain = ClipsConfig(str(tmp_path / "plain"), frames=5, size=(16, 16))
    data = MixtureConfig((posed, plain), (1, 1)).build()
    assert "note: poses is left out: only some members" in capsys.readouterr().err
    batch = data.batch(0, 8, 0)
    assert batch.poses is None and batch.intrinsics is None and {k[0] for k in batch.keys} == {"0", "1"}
    both = MixtureConfig((posed, posed), (1, 1), images=1.0).build()
    batch = both.batch(0, 4, 0)
    assert "poses" in both.fields and batch.poses.shape == (4, 1, 4, 4) and batch.intrinsics.shape == (4, 1, 3, 3)
    with pytest.raises(BadInput, match=r"Only some members of the mixture have actions \(none: number 1\)"):
        MixtureConfig((ONE, plain), (1, 1)).build()


SPEC = ActionSpec(("x", "y"), ("m", "m"), "base", 10.0, "delta", (-2, -3), (2, 1), (1.0, 0.0), (2.0, 1.0))


def test_one_normaliser_for_all():
    """The mean and deviation of the mixture are those of its rows."""
    rng = np.random.default_rng(0)
    parts = [rng.normal((0, 1), (1, 3), (60_000, 2)), rng.normal((4, -1), (2, 0.5), (20_000, 2))]
    specs = [
        dataclasses.replace(SPEC, mean=tuple(p.mean(0)), std=tuple(p.std(0)), low=tuple(p.min(0)), high=tuple(p.max(0)))
        for p in parts
    ]
    made, whole = joint_spec(specs, np.array([0.75, 0.25])), np.concatenate(parts)
    for ours, true in (
        (made.mean, whole.mean(0)),
        (made.std, whole.std(0)),
        (made.low, whole.min(0)),
        (made.high, whole.max(0)),
    ):
        np.testing.assert_allclose(ours, true, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"units": ("m", "rad")}, r"units: \('m', 'rad'\) != \('m', 'm'\)"),
        ({"rate": 5.0}, "rate: 5.0 != 10.0"),
        ({"mode": "absolute"}, "mode: absolute != delta"),
        ({"mean": (), "std": ()}, "only one is normalised"),
    ],
)
def test_actions_that_mean_something_else_are_an_error(change, said):
    with pytest.raises(BadInput, match=f"member 1 of the mixture differ from those of member 0: .*{said}"):
        joint_spec([SPEC, dataclasses.replace(SPEC, **change)], np.array([0.5, 0.5]))


def test_pixels_of_several_rates_may_be_mixed_when_asked():
    members = [ONE.build(), dataclasses.replace(TWO, fps=5.0).build()]
    for member in members:  # what an action means hangs on the rate
        member.spec, member.fields = None, member.fields - {"actions"}
    with pytest.raises(BadInput, match="differ in fps"):
        Mixture(MixtureConfig((ONE, TWO)), members, "train")
    plain = Mixture(MixtureConfig((ONE, TWO), rates=True), members, "train")
    assert plain.fps == 10.0
    batch = plain.batch(0, 16, 0)
    rates = {key.split("/")[0]: float(fps) for key, fps in zip(batch.keys, batch.fps)}
    assert rates == {"0": 10.0, "1": 5.0}, "each row tells its own"


def test_members_that_do_not_fit_are_an_error(tok, tmp_path):
    for change, said in (
        ({"frames": 4}, "differ in frames: 5, 4"),
        ({"size": (24, 16)}, r"differ in size: \(16, 16\), \(24, 16\)"),
        ({"fps": 5.0}, "differ in fps: 10.0, 5.0"),
    ):
        with pytest.raises(BadInput, match=said):
            MixtureConfig((ONE, dataclasses.replace(TWO, **change))).build()
    encoded = LatentsConfig(ONE, str(tok), cache=str(tmp_path))
    with pytest.raises(BadInput, match="one kind of data; its members give latents and video"):
        MixtureConfig((encoded, TWO)).build()
    with pytest.raises(BadInput, match="differ in the text encoder: hash, "):
        MixtureConfig((encoded, dataclasses.replace(encoded, text=""))).build()
    torch.manual_seed(1)
    tokenizers.save(tokenizers.build(SMALL), tmp_path / "other")
    with pytest.raises(BadInput, match="differ in the tokenizer"):
        MixtureConfig((encoded, dataclasses.replace(encoded, tokenizer=str(tmp_path / "other")))).build()
    for bad, said in (
        (MixtureConfig(), "at least one source"),
        (MixtureConfig((ONE, TWO), (1.0,)), "one weight a source; got 1 for 2"),
        (MixtureConfig((ONE, TWO), (1.0, 0.0)), "positive numbers"),
        (MixtureConfig((ONE, TWO), images=1.5), "images is a share"),
    ):
        with pytest.raises(BadInput, match=said):
            bad.build()


def test_latents_are_made_once_for_each_member_and_go_on_after_a_stop(tok, tmp_path, monkeypatch):
    from armillary.data.latents import LatentsDataset

    plain, made = LatentsDataset._encode, []

    def counted(self, tokenizer, frames):
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(self.hash)
        return plain(self, tokenizer, frames)

    monkeypatch.setattr(LatentsDataset, "_encode", counted)
    config = MixtureConfig(tuple(LatentsConfig(s, str(tok), cache=str(tmp_path)) for s in (ONE, TWO)), (1.0, 2.0))
    entries = sum(len(s.build().entries) for s in (ONE, TWO))
    stop = entries - 3  # within the second member
    with pytest.raises(KeyboardInterrupt):
        config.build()
    stop = 10**9
    data = config.build()
    assert len(made) == entries
    config.build()
    dataclasses.replace(
        config, weights=(5.0, 1.0), sources=config.sources[::-1]
    ).build()  # other shares: nothing is encoded anew
    assert len(made) == entries
    assert isinstance(data, Encoded) and data.ref.channels == 4 and data.text == "hash"
    batch = data.batch(0, 6, 0)
    assert batch.latents.shape == (6, 4, 5, 2, 2) and batch.context is not None and batch.context_mask is not None
    sample = data.sample(30)
    assert sample.shape == (30, 4, 5, 2, 2) and torch.equal(sample, config.build().sample(30))


def test_a_tokenizer_learns_from_single_frames_and_windows(tmp_path, monkeypatch):
    """A causal video tokenizer: `1 + 4k` frames, single ones among them; a run that is stopped ends with the same weights."""
    data = MixtureConfig((ONE, TWO), (1.0, 1.0), images=0.5, image_rows=2)
    config = RunConfig(
        name="mixed",
        model=TokenizerRun(size="video-d4x8x8", overrides=("width=16", "mult=[1,2]", "blocks=1", "decoder_blocks=1")),
        data=data,
        optim=OptimConfig(lr=1e-3, warmup=2),
        steps=6,
        batch=2,
        ema=0.0,
        log_every=1,
        save_every=3,
        threads=1,
    )
    first = train(config, tmp_path / "whole", progress=False)
    assert first.finished
    plain = loop._Run.one_step

    def breaks(self, meters):
        if self.step == 4:
            raise KeyboardInterrupt
        plain(self, meters)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Run, "one_step", breaks)
        train(config, tmp_path / "cut", progress=False)
    train(dataclasses.replace(config, ahead=0), tmp_path / "cut", progress=False)
    one, two = ((tmp_path / n / "model" / "model.safetensors").read_bytes() for n in ("whole", "cut"))
    assert one == two


def test_a_world_learns_from_a_mixture_of_latents(tok, tmp_path):
    data = MixtureConfig(tuple(LatentsConfig(s, str(tok), cache=str(tmp_path / "cache")) for s in (ONE, TWO)), (1.0, 1.0))
    config = RunConfig(
        name="mixed-world",
        model=WorldRun(size="unet-nano"),
        data=data,
        optim=OptimConfig(lr=1e-3, warmup=2),
        steps=2,
        batch=2,
        ema=0.0,
        log_every=1,
        threads=1,
    )
    assert train(config, tmp_path / "run", progress=False).finished


def test_the_first_frames_of_several_views():
    """Two views of five frames, two latent frames each: what is kept is the first of each view."""
    number = torch.arange(10.0)  # of a frame, in the order in which views ride on time
    batch = Batch(
        tokens=torch.tensor([0, 1, 5, 6]).reshape(1, 4, 1, 1),
        poses=number.reshape(1, 10, 1, 1).expand(1, 10, 4, 4),
        intrinsics=number.reshape(1, 10, 1, 1).expand(1, 10, 3, 3),
        actions=number[:5].reshape(1, 5, 1),
        views=2,
    )
    first = first_frames(batch, 5)
    assert first.tokens.flatten().tolist() == [0, 5] and (first.grid.v, first.grid.t) == (2, 1)
    assert first.poses[0, :, 0, 0].tolist() == [0, 5] == first.intrinsics[0, :, 0, 0].tolist()
    assert first.actions.tolist() == [[[0.0]]]


def test_views_are_videos_of_their_own_to_a_tokenizer():
    torch.manual_seed(0)
    model = TokenizerObjective(tokenizers.build(SMALL)).eval()
    video = torch.rand(2, 3, 6 * 4, 16, 16) * 2 - 1
    rows = video.reshape(2, 3, 6, 4, 16, 16).transpose(1, 2).reshape(12, 3, 4, 16, 16)
    seeded = [torch.Generator().manual_seed(0) for _ in range(2)]
    together, _ = model(Batch(video=video, views=6), seeded[0])
    apart, _ = model(Batch(video=rows), seeded[1])
    torch.testing.assert_close(together, apart)
