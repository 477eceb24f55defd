"""Autoregressive decoding: tokens a CPU second against transformers' `generate` and NVIDIA's decode on the same weights, one thread.

Peers are found on the path: `transformers`, and `cosmos_predict1` (NVIDIA's repository, its parallel libraries replaced by nothing: one
process needs none of them). One that is missing is left out. The network is a Llama of 23.1 million parameters with random weights, whose
speed is that of reading them from memory, and (`_small`) one of 2.7 million, as the worlds that are trained here, which a cache holds;
every peer says the likeliest token, and what it says is compared before anything is timed.

* tokens_vs_generate: ours against `generate`, 32 tokens given and 48 made; int8_vs_generate: the same with weights of eight bits.
* tokens_vs_nvidia_256, tokens_vs_nvidia_2k: against NVIDIA's decode, whose cache has that many places, all of which it attends to.
* blocks_vs_plain: a world of `ar-nano`'s size that says 16 tokens at once against one that says them singly, four latent frames of 8 x 8
  after one (random weights: how fast, not how good).
* memory: bytes of weights that a CPU second of decoding reads, and those that one product with a large matrix reads.
* heads_vs_plain: with `--world` and `--heads`, a trained world with its speculative heads against without them, at equal tokens.
* quality: with `--world`, `--blocks` and `--data`, PSNR on held-out episodes, 16 frames after one, beside a copy of the last.

    PYTHONPATH=PEERS python benchmarks/autoregressive/run.py --save
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness
import torch

from armillary.types import Conditioning, Grid
from armillary.worlds.autoregressive.decode import Sampling, decode, draw
from armillary.worlds.autoregressive.published import to_llama, to_published
from armillary.worlds.autoregressive.step import Joined
from armillary.worlds.autoregressive.transformer import SIZES, Transformer, TransformerConfig

CONFIG = TransformerConfig(
    vocab=4096, dim=512, layers=6, heads=8, kv_heads=4, hidden=1536, theta=10_000.0, begin=False, flat=True, qk_norm=False
)
# As many numbers as the worlds that are trained here (`ar-nano`), which fit into a core's cache.
SMALL = dataclasses.replace(CONFIG, vocab=1000, dim=192, heads=6, kv_heads=2, hidden=512)
GIVEN, MADE = 32, 48


def ours(config: TransformerConfig) -> Transformer:
    torch.manual_seed(0)
    network = Transformer(config, Grid(1, 1, 16, 16)).eval().requires_grad_(False)
    for p in network.parameters():
        p.add_(torch.randn_like(p) * 0.05)  # so that which token is likeliest does not hang on rounding
    return network


def transformers_peer(network: Transformer) -> Any:
    config = network.config
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = LlamaConfig(
        vocab_size=config.vocab,
        hidden_size=config.dim,
        intermediate_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        rms_norm_eps=config.eps,
        rope_theta=config.theta,
        tie_word_embeddings=False,
        max_position_embeddings=2048,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(settings).eval().requires_grad_(False)
    model.load_state_dict(to_llama(config, network.state_dict()))
    return lambda ids: model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=MADE, do_sample=False)[:, GIVEN:]


class _Anything(type):
    """A class whose every attribute is such a class: what NVIDIA's modules import and one process never calls."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


def _absent(name: str) -> types.ModuleType:
    """A module that has everything and does nothing."""
    module = types.ModuleType(name)
    module.__getattr__ = lambda item: _Anything(item, (), {})  # type: ignore[method-assign]
    module.__path__ = []
    return module


def nvidia_peer(network: Transformer, places: int) -> Any:
    """NVIDIA's transformer and its cache of `places`, one token at a time as their sampling code does it."""
    for name in ("megatron", "megatron.core", "megatron.core.tensor_parallel"):
        sys.modules.setdefault(name, _absent(name))
    for name in ("megatron.core.tensor_parallel.mappings", "megatron.core.tensor_parallel.utils", "cosmos_predict1.utils.log"):
        sys.modules.setdefault(name, _absent(name))
    log = sys.modules["cosmos_predict1.utils.log"]
    log.debug = log.info = log.warning = lambda *_, **__: None  # type: ignore[attr-defined]
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    torch.cuda.current_device = lambda: "cpu"  # type: ignore[assignment]
    from cosmos_predict1.autoregressive.networks.transformer import Transformer as Theirs  # pyright: ignore

    config = network.config
    settings = {
        "vocab_size": config.vocab,
        "n_layers": config.layers,
        "dim": config.dim,
        "n_heads": config.heads,
        "n_kv_heads": config.kv_heads,
        "head_dim": None,
        "ffn_hidden_size": config.hidden,
        "norm_type": "rmsnorm",
        "norm_eps": config.eps,
        "rope_theta": config.theta,
        "rope_dim": "1D",
        "pytorch_rope_version": "v2",
        "max_batch_size": 1,
        "max_seq_len": places,
        "original_seq_len": places,
        "num_video_frames": 0,
        "video_latent_shape": None,
        "original_latent_shape": None,
        "pad_to_multiple_of": None,
        "apply_yarn": False,
        "yarn_scale": None,
        "yarn_beta_fast": None,
        "yarn_beta_slow": None,
        "apply_abs_pos_emb": False,
        "use_qk_normalization": False,
        "causal_mask": True,
        "fuse_qkv": False,
        "precision": "float32",
        "tensor_model_parallel_size": 1,
        "attn_type": "self",
        "insert_cross_attn": False,
        "insert_cross_attn_every_k_layers": 1,
        "context_dim": None,
    }
    from omegaconf import OmegaConf  # pyright: ignore

    model = Theirs(OmegaConf.create(settings)).eval().requires_grad_(False)
    model.load_state_dict(to_published(config, network.state_dict()))

    @torch.inference_mode()
    def made(ids: torch.Tensor) -> torch.Tensor:
        said = model(tokens=ids, input_pos=torch.arange(GIVEN))[:, -1:].argmax(-1)
        out = [said]
        for place in range(GIVEN, GIVEN + MADE - 1):
            said = model(tokens=said, input_pos=torch.tensor([place])).argmax(-1)
            out.append(said)
        return torch.cat(out, 1)

    return made


def against_peers(config: TransformerConfig, tag: str, repeats: int, ratios: dict[str, Any], figures: dict[str, Any]) -> None:
    network = ours(config)
    figures[f"parameters{tag}"] = sum(p.numel() for p in network.parameters())
    ids, uniform = (
        torch.randint(0, config.vocab, (1, GIVEN), generator=torch.Generator().manual_seed(1)),
        draw(torch.Generator(), 1, MADE),
    )
    joined = {False: Joined(network), True: Joined(network, int8=True)}

    def run(int8: bool = False) -> torch.Tensor:
        return decode(network, ids, uniform, Sampling(0.0), joined=joined[int8])

    said = run()
    peers: dict[str, Any] = {}
    for name, make in (
        ("generate", lambda: transformers_peer(network)),
        ("nvidia_256", lambda: nvidia_peer(network, 256)),
        ("nvidia_2k", lambda: nvidia_peer(network, 2048)),
    ):
        try:
            peers[name] = make()
        except ImportError as error:
            figures[f"left out: {name}{tag}"] = str(error)
            continue
        assert torch.equal(peers[name](ids), said), f"{name} says other tokens"
    names = {"generate": "transformers generate", "nvidia_256": "NVIDIA, cache of 256", "nvidia_2k": "NVIDIA, cache of 2048"}
    for name, peer in peers.items():
        found = harness.interleaved(run, lambda peer=peer: peer(ids), repeats)
        ratios[f"tokens_vs_{name}{tag}"] = found | {"peer": names[name]}
        figures[f"{name}{tag}: tokens a CPU second, ours and theirs"] = [
            round(MADE / found[k], 1) for k in ("ours_s", "theirs_s")
        ]
    read = 4 * (figures[f"parameters{tag}"] - network.embed.weight.numel())
    figures[f"memory{tag}: GB a CPU second, decoding and one large product"] = [
        round(MADE * read / min(_seconds(run) for _ in range(5)) / 1e9, 1),
        round(_bandwidth() / 1e9, 1),
    ]
    if "generate" in peers:
        found = harness.interleaved(lambda: run(True), lambda: peers["generate"](ids), repeats)
        ratios[f"int8_vs_generate{tag}"] = found | {"peer": names["generate"]}
    ratios[f"int8_vs_float32{tag}"] = harness.interleaved(lambda: run(True), run, repeats) | {"peer": "ours in float32"}
    # One greedy path drifts from the other after the first different token: the share of equal choices on the same past says more.
    exact = network(torch.cat([ids, said], 1))[0]
    near = torch.cat([_read(network, joined[True], torch.cat([ids, said], 1))], 0)
    figures[f"int8{tag}: same likeliest token"] = round(float((exact[GIVEN:].argmax(-1) == near.argmax(-1)).float().mean()), 3)
    figures[f"int8{tag}: error of logits, share of their deviation"] = round(
        float((exact[GIVEN:] - near).std() / exact[GIVEN:].std()), 4
    )


def _bandwidth() -> float:
    """Bytes that a CPU second of one product with a matrix of 256 MB reads, the best of five."""
    matrix, vector = torch.ones(8192, 8192), torch.ones(8192)
    torch.mv(matrix, vector)
    return 4 * matrix.numel() / min(_seconds(lambda: torch.mv(matrix, vector)) for _ in range(5))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@torch.inference_mode()
def _read(network: Transformer, joined: Joined, ids: torch.Tensor) -> torch.Tensor:
    from armillary.worlds.autoregressive.step import Stepper
    from armillary.worlds.autoregressive.transformer import Cache

    cache = Cache(network.config, 1, ids.shape[1], network.embed.weight)
    network(ids[:, :GIVEN], cache=cache)
    step = Stepper(joined, cache, None)
    return torch.cat([step.say(step(ids[:, i : i + 1], None))[0] for i in range(GIVEN, ids.shape[1])])


def blocks(repeats: int, ratios: dict[str, Any]) -> None:
    runs = []
    for size in (16, 1):
        torch.manual_seed(0)
        config = dataclasses.replace(SIZES["nano"], vocab=1000, block=size)
        network = Transformer(config, Grid(1, 5, 8, 8)).eval().requires_grad_(False)
        joined = Joined(network)
        prompt = torch.cat([torch.arange(1000, 1000 + size)[None], torch.randint(0, 1000, (1, 64))], 1)
        uniform = draw(torch.Generator().manual_seed(0), 1, 256)
        runs.append(
            lambda network=network, prompt=prompt, uniform=uniform, joined=joined: decode(
                network, prompt, uniform, Sampling(), joined=joined
            )
        )
    ratios["blocks_vs_plain"] = harness.interleaved(*runs, repeats) | {"peer": "one token a pass"}


def speculative(options: argparse.Namespace, repeats: int, ratios: dict[str, Any], figures: dict[str, Any]) -> None:
    """On tokens of held-out episodes: one latent frame given, four to come."""
    from armillary import worlds
    from armillary.data import EpisodesConfig, LatentsConfig
    from armillary.worlds.autoregressive.heads import load_heads

    world: Any = worlds.load(options.world)
    heads = load_heads(options.heads, world)
    steered = world.action_spec is not None
    source = EpisodesConfig(options.data, frames=17, size=world.tokenizer.size, actions=steered)
    batch = (
        LatentsConfig(source, tokenizer=world.tokenizer.name, text=world.setting.text, cache=options.cache)
        .build("held-out")
        .batch(0, 1, 0)
    )
    assert batch.tokens is not None
    actions = None if batch.actions is None else batch.actions[:, :16]
    told, given = Conditioning(context=batch.context, context_mask=batch.context_mask, actions=actions), batch.tokens[:, :1]
    passes: dict[str, list[int]] = {}

    def run(name: str, **more: Any) -> torch.Tensor:
        passes[name] = []
        return world.extend(given, 4, told, generator=torch.Generator().manual_seed(0), progress=passes[name].append, **more)

    for name, sampling in (("greedy", {"temperature": 0.0}), ("sampled", {})):
        plain, fast = run("plain", **sampling), run("heads", heads=heads, **sampling)
        assert torch.equal(plain, fast), "heads change tokens"
        figures[f"{name}: passes with and without heads"] = [len(passes["heads"]), len(passes["plain"])]
        found = harness.interleaved(
            lambda s=sampling: run("heads", heads=heads, **s), lambda s=sampling: run("plain", **s), repeats
        )
        ratios[f"heads_vs_plain_{name}"] = found | {"peer": "the same world without heads, equal tokens"}


def quality(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """PSNR of 16 frames after the first, by world, over held-out episodes."""
    import numpy as np

    from armillary.data import EpisodesConfig
    from armillary.rollout.dreamer import Dreamer

    dreamers = {"plain": Dreamer(options.world), "blocks": Dreamer(options.blocks)}
    steered = dreamers["plain"].world.action_spec is not None
    data = EpisodesConfig(options.data, frames=17, size=dreamers["plain"].size, actions=steered).build("held-out")
    clips = data.batch(0, options.clips, 0)
    assert clips.video is not None
    errors: dict[str, list[float]] = {name: [] for name in (*dreamers, "copy")}
    for i, video in enumerate(clips.video):
        frames = ((video.permute(1, 2, 3, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
        prompt = clips.text[i] if clips.text else ""
        actions = None if clips.actions is None else clips.actions[i, :16].numpy()
        for name, dreamer in dreamers.items():
            made = dreamer.dream(frames[:1], 16, prompt=prompt, actions=actions, seed=i, cut=True)
            errors[name].append(float(np.square(made.astype(float) - frames[1:]).mean()))
        errors["copy"].append(float(np.square(frames[:1].astype(float) - frames[1:]).mean()))
    for name, found in errors.items():
        figures[f"PSNR of 16 frames, {name}"] = round(float(10 * np.log10(255**2 / np.mean(found))), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", default="", help="says single tokens, as `armillary train ar-tabletop-steered` makes it")
    parser.add_argument("--heads", default="")
    parser.add_argument("--blocks", default="")
    parser.add_argument("--data", default="", help="a LeRobot dataset of the world's kind")
    parser.add_argument("--cache", default="")
    parser.add_argument("--clips", type=int, default=8)
    options, rest = parser.parse_known_args()
    sys.argv = [sys.argv[0], *rest]
    common = harness.arguments(__doc__ or "")
    torch.set_num_threads(1)
    repeats, ratios, figures = (3 if common.quick else 5), {}, {}
    against_peers(CONFIG, "", repeats, ratios, figures)
    against_peers(SMALL, "_small", repeats, ratios, figures)
    blocks(repeats, ratios)
    if (options.heads or options.blocks) and not (options.world and options.data):
        parser.error("--heads and --blocks want the --world they stand beside, and --data")
    if options.heads:
        speculative(options, repeats, ratios, figures)
    if options.blocks:
        quality(options, figures)
    harness.report(__file__, ratios, figures, common)


if __name__ == "__main__":
    main()
