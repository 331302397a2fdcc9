"""Training: batches, padding, the loss, the schedule, and weights that depend on nothing but texts, rates and seed."""

import math
from random import Random

import pytest
import torch

from della.tiny.models import make_model, train_expert
from della.tiny.recipe import RECIPES
from della.tiny.training import IGNORED, deterministic_threads, pad, plan_batches, rate_at, sum_loss

EXAMPLES = [([3 + (i * k) % 11 for k in range(4 + i % 5)], 2) for i in range(70)]


def test_every_example_is_in_one_batch_except_an_incomplete_last_one():
    """70 examples in batches of 8, pooled 128 at a time: 8 whole batches, 6 examples left out."""
    batches = plan_batches(EXAMPLES, 8, Random(0))
    assert [len(batch) for batch in batches] == [8] * 8
    seen = [id(example) for batch in batches for example in batch]
    assert len(set(seen)) == 64


def test_padding_stands_on_the_right_and_neither_it_nor_the_prompt_is_learnt():
    inputs, targets = pad([([5, 6, 7], 1), ([8, 9], 0)])
    assert inputs.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert targets.tolist() == [[IGNORED, 6, 7], [8, 9, IGNORED]]


def test_the_loss_sums_the_negative_log_likelihood_of_the_learnt_tokens():
    """A model whose output matrix is all zero finds every token equally likely: log(1184) nats each, 2 + 1 learnt."""
    model = make_model(RECIPES["pico"], seed=0)
    with torch.no_grad():
        model.lm_head.weight.zero_()
        loss = sum_loss(model, *pad([([5, 6, 7], 1), ([8, 9], 0)]))
    assert loss.item() == pytest.approx(3 * math.log(1184), rel=1e-6)


def test_the_rate_rises_over_two_percent_and_falls_to_nothing_over_sixty():
    """Of 100 steps: half the peak at the first, the peak from the second to the 41st, half of it at the 71st."""
    assert [rate_at(step, 100) for step in (0, 1, 40, 70)] == [0.5, 1.0, 1.0, 0.5]
    assert rate_at(99, 100) == pytest.approx(1 / 60)
    assert rate_at(100, 100) == 0.0


def test_the_weights_drawn_do_not_touch_the_callers_random_state():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = make_model(RECIPES["pico"], seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.lm_head.weight, make_model(RECIPES["pico"], seed=1).lm_head.weight)


@pytest.mark.parametrize("threads", [1, 2])
def test_trained_weights_are_the_same_bits_for_any_thread_count_of_the_caller(threads):
    def trained():
        model = make_model(RECIPES["pico"], seed=0)
        loss = train_expert(model, EXAMPLES * 4, 1e-2, 8, "0 test", None)
        return loss, model.model.layers[1].self_attn.q_proj.weight

    expected_loss, expected = trained()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    called_with = torch.get_num_threads()  # not `threads` in a process in which vLLM has fixed the number
    try:
        loss, weight = trained()
        assert torch.get_num_threads() == called_with
    finally:
        torch.set_num_threads(before)
    assert loss == expected_loss
    assert torch.equal(weight, expected)


def test_training_lowers_the_loss_and_leaves_the_embeddings_alone():
    model = make_model(RECIPES["pico"], seed=0)
    embeddings = model.get_input_embeddings().weight.clone()
    loss = train_expert(model, EXAMPLES * 20, 1e-2, 8, "0 test", None)
    assert loss < 0.9 * math.log(1184)
    assert torch.equal(model.get_input_embeddings().weight, embeddings)


def test_the_callers_settings_come_back_after_an_error():
    threads = torch.get_num_threads()

    def fail():
        with deterministic_threads():
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
