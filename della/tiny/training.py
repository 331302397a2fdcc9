"""Training of the tiny models: a base on whole documents, an expert on the answers to prompts.

Two threads each take half of a batch and return its gradient; the halves are added in a fixed order, and a thread's
operations are single-threaded. So the weights depend on the texts, the rates and the seed, not on the number of cores.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaForCausalLM

HALVES = 2
IGNORED = -100
# Batches whose documents are sorted by length together: little padding, and lengths still mixed over time.
POOL = 16

Example = tuple[list[int], int]  # token ids, and how many of the first are not to be learnt


@contextmanager
def deterministic_threads() -> Iterator[ThreadPoolExecutor]:
    """Two threads with single-threaded, deterministic operations; the caller's settings come back afterwards."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with ThreadPoolExecutor(HALVES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def plan_batches(examples: list[Example], batch: int, rng: Random) -> list[list[Example]]:
    """Every example once, in random order, in batches of similar lengths; an incomplete last batch is dropped."""
    order = list(examples)
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), batch * POOL):
        pool = sorted(order[start : start + batch * POOL], key=lambda example: len(example[0]))
        batches += [pool[i : i + batch] for i in range(0, len(pool) - batch + 1, batch)]
    rng.shuffle(batches)
    return batches


def pad(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Token ids and targets, both int64 [examples, longest]; padding on the right, which no earlier token sees."""
    longest = max(len(ids) for ids, _ in examples)
    inputs = torch.zeros(len(examples), longest, dtype=torch.int64)
    targets = torch.full((len(examples), longest), IGNORED)
    for row, (ids, known) in enumerate(examples):
        inputs[row, : len(ids)] = torch.tensor(ids)
        targets[row, known : len(ids)] = inputs[row, known : len(ids)]
    return inputs, targets


def sum_loss(model: LlamaForCausalLM, inputs: Tensor, targets: Tensor) -> Tensor:
    """The sum over learnt tokens of the negative log-likelihood, in nats."""
    learnt = targets[:, 1:] != IGNORED
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
    return F.cross_entropy(model.lm_head(hidden[learnt]), targets[:, 1:][learnt], reduction="sum")


def rate_at(step: int, steps: int) -> float:
    """Factor of the learning rate: up over 2 % of the steps, down along a line to nothing over the last 60 %."""
    return min(1.0, (step + 1) / math.ceil(0.02 * steps), (steps - step) / (0.6 * steps))


def train(
    model: LlamaForCausalLM,
    examples: list[Example],
    optimizers: list[torch.optim.Optimizer],
    batch: int,
    seed: str,
    label: str | None,
) -> float:
    """Trains the parameters that `requires_grad`, in place, seeing each example once.

    Args:
        examples: token ids, and how many leading ones are a prompt, not to be learnt.
        optimizers: over those parameters; their rates are the peaks of the schedule.
        seed: fixes the order of the examples.
        label: the progress bar's name; None for no bar.

    Returns:
        The mean loss, in nats per learnt token, over the last tenth of the steps.
    """
    batches = plan_batches(examples, batch, Random(f"{seed} order"))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, len(batches)))
        for optimizer in optimizers
    ]
    losses = []

    def backward(half: list[Example]) -> tuple[float, tuple[Tensor, ...]]:
        loss = sum_loss(model, *pad(half))
        return loss.item(), torch.autograd.grad(loss, parameters)

    model.train()
    with deterministic_threads() as pool:
        bar = tqdm(batches, desc=label, disable=label is None, unit="step", dynamic_ncols=True)
        for examples_now in bar:
            halves = list(pool.map(backward, [examples_now[i::HALVES] for i in range(HALVES)]))
            learnt = sum(len(ids) - max(known, 1) for ids, known in examples_now)
            for parameter, *gradients in zip(parameters, *(gradients for _, gradients in halves), strict=True):
                parameter.grad = (gradients[0] + gradients[1]) / learnt
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            list(pool.map(lambda optimizer: optimizer.step(), optimizers))
            for schedule in schedules:
                schedule.step()
            losses.append(sum(loss for loss, _ in halves) / learnt)
            bar.set_postfix(loss=f"{losses[-1]:.2f}", refresh=False)
    model.zero_grad()
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)
