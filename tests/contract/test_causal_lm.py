"""A language model that drops tokens of its prompt writes on as the plain one would."""

from __future__ import annotations

import pytest
import torch
from methods import build_pruner
from tiny import CAUSAL_FAMILIES, make_batch, make_lm, on_the_left
from transformers import DynamicCache, GenerationConfig

import tsdtp

LENGTHS = (24, 3, 17, 2, 9, 15)
METHODS = ("none", "topk", "dtp", "ts_dtp", "tome")
GREEDY = {"do_sample": False, "max_new_tokens": 10}
BEAM = {**GREEDY, "num_beams": 3}


@pytest.fixture(params=CAUSAL_FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture
def prompts() -> dict:
    return on_the_left(make_batch(LENGTHS))


def build(family: str, method: str = "topk", budget: float = 0.5) -> tsdtp.PrunedCausalLM:
    settings = {"budget": budget} if build_pruner(method).search is not None else {}
    torch.manual_seed(1)  # of the pruner's weights
    model = tsdtp.prune(make_lm(family), method, **settings)
    assert isinstance(model, tsdtp.PrunedCausalLM)
    if settings:
        tsdtp.calibrate(model, [make_batch(seed=s) for s in range(4)])
    return model


@pytest.mark.parametrize("search", [GREEDY, BEAM], ids=["greedy", "beam"])
def test_full_keep_writes_the_plain_models_tokens(family, prompts, search):
    expected = make_lm(family).generate(**prompts, **search)
    model = build(family, "topk")
    model.pruner.strictness.fill_(model.pruner.keep_all)
    assert torch.equal(model.generate(**prompts, **search), expected)
    model.execution = "hf"
    assert torch.equal(model.generate(**prompts, **search), expected)


def test_a_config_that_wants_no_cache_changes_no_words(family, prompts):
    model = build(family, "topk")
    model.pruner.strictness.fill_(model.pruner.keep_all)
    expected = model.generate(**prompts, **GREEDY)
    model.hf_model.generation_config.use_cache = False
    assert torch.equal(model.generate(**prompts, **GREEDY), expected)
    with pytest.raises(ValueError, match="use_cache=False: valid is True"):
        model.generate(**prompts, generation_config=GenerationConfig(use_cache=False))


def test_a_config_of_the_call_is_as_good_as_its_words(family, prompts, recwarn):
    model, given = build(family, "topk"), GenerationConfig(max_new_tokens=3, pad_token_id=1)
    expected = model.generate(**prompts, max_new_tokens=3, pad_token_id=1)
    recwarn.clear()
    assert torch.equal(model.generate(**prompts, generation_config=given), expected)
    assert not [w for w in recwarn if "generation_config" in str(w.message)]
    for other in ({"cache_implementation": "static"}, {"past_key_values": DynamicCache()}):
        with pytest.raises(ValueError, match=f"{[*other][0]}: .* has a cache of its own"):
            model.generate(**prompts, **other)


def test_what_a_given_config_does_not_say_is_the_models_own(family, prompts):
    plain, model = make_lm(family), build(family, "none")
    for writer in (plain, model.hf_model):
        writer.generation_config.num_beams = 2
    given = {"generation_config": GenerationConfig(max_new_tokens=5, do_sample=False)}
    assert torch.equal(model.generate(**prompts, **given), plain.generate(**prompts, **given))


def test_without_a_mask_padding_is_what_the_plain_model_takes_for_it(family, prompts):
    ids, plain, model = prompts["input_ids"], make_lm(family), build(family, "none")
    assert torch.equal(model.generate(ids, **GREEDY), plain.generate(ids, **GREEDY))
    ends = {**GREEDY, "eos_token_id": [7, 1]}  # the padding token ends a text: it may be one
    expected = model.generate(ids, torch.ones_like(ids), **ends)
    assert torch.equal(model.generate(ids, **ends), expected)


def test_token_types_are_read_as_by_the_plain_model(prompts):
    plain = make_lm("gpt2")  # which takes words for types
    typed = {**prompts, "token_type_ids": torch.full_like(prompts["input_ids"], 7)}
    settings = {"max_new_tokens": 8, "do_sample": False}
    model = tsdtp.prune(make_lm("gpt2"), "topk", fraction=1.0)
    assert torch.equal(model.generate(**typed, **settings), plain.generate(**typed, **settings))


@pytest.mark.parametrize("search", [GREEDY, BEAM], ids=["greedy", "beam"])
def test_fewer_blocks_write_as_a_model_that_has_no_more(family, prompts, search):
    model, shallow = tsdtp.prune(make_lm(family), "none", blocks=2), make_lm(family)
    name = "h" if family == "gpt2" else "layers"
    setattr(shallow.base_model, name, getattr(shallow.base_model, name)[:2])
    shallow.config.num_hidden_layers = 2
    expected = shallow.generate(**prompts, **search)
    assert torch.equal(model.generate(**prompts, **search), expected)
    assert not torch.equal(make_lm(family).generate(**prompts, **search), expected)
    with pytest.raises(ValueError, match="use_cache=False: valid is True"):
        model.generate(**prompts, **search, use_cache=False)


@pytest.mark.parametrize("method", METHODS)
def test_packed_writes_as_masked(family, method, prompts):
    model = build(family, method)
    packed = model.generate(**prompts, **GREEDY)
    model.execution = "masked"
    assert torch.equal(model.generate(**prompts, **GREEDY), packed)


@pytest.mark.parametrize("search", [GREEDY, BEAM], ids=["greedy", "beam"])
def test_a_prompt_goes_on_the_same_in_any_batch(family, prompts, search):
    model = build(family)
    together = model.generate(**prompts, **search)[:, max(LENGTHS) :]
    assert not torch.equal(together, make_lm(family).generate(**prompts, **search)[:, 24:])
    for row, n in enumerate(LENGTHS):
        one = {k: v[row : row + 1, -n:] for k, v in prompts.items()}
        alone = model.generate(**one, **search)[0, n:]
        assert torch.equal(alone, together[row, : len(alone)])


def test_the_cache_holds_what_each_block_saw(family, prompts):
    model = build(family)
    ids, mask = (prompts[k][:, :-1] for k in ("input_ids", "attention_mask"))
    kept = model(input_ids=ids, attention_mask=mask).tokens_kept
    cache = model.read_prompt(ids, mask)
    counts = [layer.live.sum(1).tolist() for layer in cache.layers]
    assert counts == [mask.sum(1).tolist(), *kept[:, :-1].T.tolist()]
    widths = [layer.keys.shape[-2] for layer in cache.layers]
    assert widths == [23, *(max(n) for n in counts[1:])] and widths[-1] < 12
    heads = getattr(model.config, "num_key_value_heads", 4)
    assert {layer.keys.shape[1] for layer in cache.layers} == {heads}, "shared heads once"


def test_it_names_the_next_token_as_the_plain_model_does(family, prompts):
    model = build(family)
    model.pruner.strictness.fill_(model.pruner.keep_all)
    places = (prompts["attention_mask"].cumsum(1) - 1).clamp(min=0)
    expected = make_lm(family)(**prompts, position_ids=places).logits[:, -1]
    for execution in ("packed", "masked", "hf"):
        model.execution = execution
        torch.testing.assert_close(model(**prompts).logits, expected, atol=1e-5, rtol=0)


def test_it_trains_on_the_next_token(family):
    model = build(family, "ts_dtp").train()
    model(**make_batch(), labels=torch.arange(6)).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.pruner.parameters())


def test_a_saved_one_comes_back(family, prompts, tmp_path):
    model = build(family)
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path))
    assert isinstance(again, tsdtp.PrunedCausalLM)
    assert torch.equal(again.generate(**prompts, **GREEDY), model.generate(**prompts, **GREEDY))


def test_what_cannot_be_gone_on_from_is_refused(prompts):
    model = build("gpt2")
    with pytest.raises(ValueError, match="padding on the left"):
        model.generate(**make_batch(LENGTHS))
    with pytest.raises(ValueError, match="two tokens or more"):
        model.generate(torch.tensor([[5]]))
    with pytest.raises(ValueError, match="prompt_lookup_num_tokens: a model that drops tokens"):
        model.generate(**prompts, prompt_lookup_num_tokens=3)
