"""What judging will cost: verdicts, tokens and money, before any answer is there to be judged.

Prompts are the judges' own (eval/judges), filled with texts as long as instructions, references and answers are on
average. A verdict on the same pair is never paid for twice, so that this is at most what is paid; a verdict that cannot
be read is asked for again, which is not in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from eval.judges.gsm8k import SYSTEM, TEMPLATE
from eval.judges.ledger import BYTES_PER_TOKEN, MILLION, TOKENS_PER_MESSAGE
from eval.judges.panel import UNLIMITED_ANSWER_TOKENS
from eval.judges.settings import ANNOTATORS
from scripts.judges import Judge
from scripts.planning.assumptions import Assumptions
from scripts.planning.counts import Run
from scripts.planning.texts import MEAN_DOCUMENT, Text
from scripts.schema import CONFIGS, SweepPlanConfig

PAPERS = "alpaca_eval_gpt4"  # DELLA's judge, which also reads GSM8K's answers
REFERENCE_BYTES = {"alpaca_eval": 308.0, "gsm8k": 293.0}  # text_davinci_003's outputs; the reference solutions
ONE_RANKING = "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]"
RANKING_BYTES_PER_TOKEN = 2.0  # brackets and quotes are tokens of their own


@dataclass(frozen=True)
class Asked:
    """One judge's work in one stage. cost: in the currency of the prices; None where these are unknown."""

    judge: str
    model: str | None
    benchmark: str
    stage: str
    verdicts: int
    tokens_in: float
    tokens_out: float
    cost: float | None


def judge_of(config: SweepPlanConfig) -> tuple[Judge, str | None]:
    """The judge to count with, and what to say where it is not the one that is configured.

    `rules` judges the tiny family's instructions alone: for other data the paper's judges are counted.
    """
    asked = config.judge
    if asked.name != "rules" or config.experts.recipe or "alpaca_eval" not in config.benchmarks:
        return asked, None
    stored = OmegaConf.to_container(OmegaConf.load(CONFIGS / "judge" / f"{PAPERS}.yaml"))
    assert isinstance(stored, dict)
    papers = Judge(**{**stored, "gsm8k": True, "parallel": asked.parallel})  # type: ignore[arg-type]
    return papers, (
        f"judge=rules cannot judge AlpacaEval's published instructions; counted with the paper's: write "
        f"judge={PAPERS} judge.gsm8k=true, or judge=served for a model of your own"
    )


def judged(judge: Judge) -> dict[str, bool]:
    """Benchmarks that a paid judge reads."""
    return {"alpaca_eval": judge.name in ANNOTATORS, "gsm8k": judge.gsm8k}


def judging(
    config: SweepPlanConfig, judge: Judge, runs: Iterable[Run], texts: Mapping[str, Text], book: Assumptions
) -> list[Asked]:
    """What each judge of the runs will be asked and paid, stage by stage."""
    runs, out = list(runs), []
    for benchmark in (name for name, paid in judged(judge).items() if paid):
        verdicts = {
            stage: sum(run.prompts.get(benchmark, 0) for run in runs if run.stage == stage)
            for stage in dict.fromkeys(run.stage for run in runs)
        }
        if not any(verdicts.values()):
            continue
        answer = texts[benchmark].answer * _bytes_per_token(book)
        counted = _alpaca if benchmark == "alpaca_eval" else _gsm8k
        name, model, each_in, each_out = counted(config, judge, answer, book)
        why = f"derived: its prompt at {BYTES_PER_TOKEN:g} bytes a token"
        book.note(f"judge tokens sent, {benchmark}", each_in, "tokens", why)
        for stage, count in verdicts.items():
            cost = _cost(judge, count * each_in, count * each_out, book)
            out.append(Asked(name, model, benchmark, stage, count, count * each_in, count * each_out, cost))
    return out


def _cost(judge: Judge, tokens_in: float, tokens_out: float, book: Assumptions) -> float | None:
    if judge.price_in is None or judge.price_out is None:
        return None
    for name, price in (("price_in", judge.price_in), ("price_out", judge.price_out)):
        book.note(f"judge.{name}", price, "a million tokens", f"configs/judge, or the option judge.{name}")
    return (tokens_in * judge.price_in + tokens_out * judge.price_out) / MILLION


def _bytes_per_token(book: Assumptions) -> float:
    return book.rows["bytes_per_token"].value if "bytes_per_token" in book.rows else BYTES_PER_TOKEN


def _alpaca(config: SweepPlanConfig, judge: Judge, answer: float, book: Assumptions) -> tuple[str, Any, float, float]:
    from eval.judges.annotator import Annotator

    annotator = Annotator(judge.name)
    asked = len(annotator.template.encode()) + len(MEAN_DOCUMENT["alpaca_eval"]["instruction"])
    tokens_in = (asked + REFERENCE_BYTES["alpaca_eval"] + answer) / BYTES_PER_TOKEN + 2 * TOKENS_PER_MESSAGE
    ranking = len(ONE_RANKING) / RANKING_BYTES_PER_TOKEN
    default = ranking, "assumed: one ranking, 2 bytes a token"
    if annotator.request["max_tokens"] < ranking:
        default = annotator.request["max_tokens"], "its limit"
    option = config.assume.judge_answer_tokens
    tokens_out = book.settle("judge_answer_tokens", "tokens", option, default=default) or 0.0
    return judge.name, judge.model, tokens_in, tokens_out


def _gsm8k(config: SweepPlanConfig, judge: Judge, answer: float, book: Assumptions) -> tuple[str, Any, float, float]:
    asked = len(SYSTEM) + len(TEMPLATE) + len(MEAN_DOCUMENT["gsm8k"]["question"]) + REFERENCE_BYTES["gsm8k"] + answer
    tokens_in = asked / BYTES_PER_TOKEN + 2 * TOKENS_PER_MESSAGE
    default = float(UNLIMITED_ANSWER_TOKENS), "assumed: an explanation and a verdict, without a limit"
    option = config.assume.gsm8k_judge_answer_tokens
    tokens_out = book.settle("gsm8k_judge_answer_tokens", "tokens", option, default=default) or 0.0
    return "GSM8K's judge", judge.gsm8k_model or judge.model, tokens_in, tokens_out
