"""The judge that a configuration names: its options, and the judge itself.

judge = open_judge(config.judge, Path(config.paths.work))
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from eval.errors import InputError
from eval.judge import AnnotationsJudge, RuleJudge
from eval.judge import Judge as AnyJudge
from eval.judges.gsm8k import SolutionJudge
from eval.judges.ledger import Purse
from eval.judges.pairwise import PairwiseJudge
from eval.judges.settings import ANNOTATORS, Endpoint
from scripts.fields import one_of, option

NAMES = ("rules", "annotations", *ANNOTATORS)
PLACE = "http://127.0.0.1:8000/v1"  # stands in where options are checked before an endpoint is named


@dataclass
class Judge:
    name: str = option(MISSING, f"who judges AlpacaEval: {' | '.join(NAMES)} (the last two ask judge.model)")
    file: str | None = option(
        None, "annotations: verdicts in alpaca_eval's format, looked up by instruction and output"
    )
    gsm8k: bool = option(
        False, "also ask judge.model whether GSM8K's answers are right (the paper's way): metric judged"
    )
    base_url: str | None = option(None, "address of an OpenAI-compatible endpoint, up to and with /v1")
    model: str | None = option(None, "name of the model that the endpoint serves")
    gsm8k_model: str | None = option(None, "another model for GSM8K's answers; null: judge.model")
    api_key_env: str | None = option(None, "NAME of the environment variable that holds the key; null: none needed")
    settings: dict[str, Any] = option({}, "further fields of every request: judge.settings.NAME=VALUE")
    parallel: int = option(8, "requests at a time")
    requests_per_minute: float | None = option(None, "the endpoint's limit; null: none known")
    tokens_per_minute: float | None = option(None, "the endpoint's limit, prompt and answer together; null: none known")
    timeout_s: float = option(120.0, "of one request, seconds")
    attempts: int = option(8, "tries of one request before the judge counts as unreachable")
    first_wait_s: float = option(1.0, "before the second try, seconds; doubled for each further one, up to 60")
    longest_wait_s: float = option(600.0, "what the endpoint's Retry-After may ask for, seconds")
    answers: int = option(3, "asked for before a verdict that can't be read is null (GSM8K: the paper's 5)")
    price_in: float | None = option(None, "price of a million tokens sent; null: unknown")
    price_out: float | None = option(None, "price of a million tokens answered; null: unknown")
    max_cost: float | None = option(None, "refuse what would cost a process more than this; null: no limit")
    length_data: str | None = option(None, "alpaca_eval's df_gamed.csv: adds the length-controlled metric win_rate_lc")

    def __post_init__(self) -> None:
        one_of("judge.name", self.name, NAMES)
        self.endpoint(self.base_url or PLACE, self.model or "a model")

    def endpoint(self, base_url: str, model: str) -> Endpoint:
        """The options as the judges take them. Raises InputError for values that make no sense."""
        own = {"name", "file", "gsm8k", "gsm8k_model", "length_data"}
        options = {name: value for name, value in vars(self).items() if name not in own}
        return Endpoint(**{**options, "base_url": base_url, "model": model})


def open_judge(config: Judge, work: Path = Path(".work")) -> AnyJudge:
    """The judge that a config names; its paid verdicts are kept under `work`. Nothing is sent yet.

    Raises InputError where a file, an address or a model is not named, is missing, or is something else.
    """
    purse = Purse(config.max_cost)
    judge = _open(config, work, purse)
    if config.gsm8k:
        model = config.gsm8k_model or config.model
        judge.gsm8k = SolutionJudge(_endpoint(config, "judge.gsm8k=true", model), cache_file(work), purse)
    return judge


def cache_file(work: Path) -> Path:
    """Where paid verdicts are kept, of all judges."""
    return work / "cache" / "judge.jsonl"


def _open(config: Judge, work: Path, purse: Purse) -> AnyJudge:
    if config.name in ANNOTATORS:
        data = None if config.length_data is None else Path(config.length_data)
        endpoint = _endpoint(config, f"judge.name={config.name}", config.model)
        return PairwiseJudge(config.name, endpoint, cache_file(work), data, purse)
    if config.length_data is not None:
        raise InputError(f"judge.length_data goes with the judges {' and '.join(ANNOTATORS)}: leave it out")
    if config.name == "rules":
        return RuleJudge()
    if not config.file:
        raise InputError("judge=annotations needs judge.file=FILE, a file of annotations in alpaca_eval's format")
    return AnnotationsJudge(config.file)


def _endpoint(config: Judge, who: str, model: str | None) -> Endpoint:
    if not config.base_url:
        raise InputError(f"{who} needs an endpoint: write judge.base_url=http://127.0.0.1:8000/v1 or the like")
    if not model:
        raise InputError(f"{who} needs a model: write judge.model=NAME, as the endpoint at {config.base_url} calls it")
    return config.endpoint(config.base_url, model)
