"""What adapter_config.json says about a LoRA (arXiv 2106.09685), as PEFT reads it; all else is refused by name.

settings = read_settings(Path("adapters/math/adapter_config.json"))
settings.rank("model.layers.0.self_attn.q_proj"), settings.scaling("model.layers.0.self_attn.q_proj")
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.checkpoint import read_json
from della.errors import InputError

REMEDY = "merge it into its base with peft's merge_and_unload(), save_pretrained() that, and name the new folder"

# Types of adapter that add tokens or states to the input and change no weight: they have no delta.
_PROMPTS = (
    "PROMPT_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "ADAPTION_PROMPT",
    "CPT",
    "CARTRIDGE",
)

_REFUSED = {
    "use_dora": "DoRA, whose delta depends on the length of the base's rows",
    "target_parameters": "LoRA on parameters that are no module's weight, as the experts of a mixture",
    "trainable_token_indices": "single rows of the embeddings, trained in full",
    "layer_replication": "layers repeated, which the base does not have",
    "lora_bias": "a bias in lora_B",
    "use_qalora": "QALoRA, whose inputs are pooled",
    "use_bdlora": "block-diagonal factors",
    "kasa_config": "KaSA, which cuts singular values from the base",
    "monteclora_config": "factors that are drawn anew each time",
    "arrow_config": "several adapters behind a router",
    "alora_invocation_tokens": "activated LoRA, which changes the weights for some tokens only",
}
# Ways to begin that take the first factors out of the base: the delta is then not from the base that is named.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class LoraSettings:
    """Settings of a plain LoRA.

    base: the name or path of the model that it was trained on, if it tells.
    fan_in_fan_out: whether its modules store their weights as (in, out). PEFT corrects the flag module by module, so
        that shapes decide where they can.
    """

    base: str | None
    fan_in_fan_out: bool
    r: int
    lora_alpha: float
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]

    def rank(self, module: str) -> int:
        """The rank of a module's factors."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """What the product of a module's factors is multiplied by: alpha / r, or alpha / sqrt(r) for rsLoRA."""
        alpha, rank = _by_pattern(self.alpha_pattern, module, self.lora_alpha), self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of the module's name from a dot on, as in PEFT."""
    return next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module)), default)


def read_settings(file: Path) -> LoraSettings:
    """The settings in an adapter_config.json.

    Raises:
        InputError: it is missing or spoilt, or describes an adapter whose delta is not scaling * B @ A.
    """
    config = read_json(file)
    kind = str(config.get("peft_type"))
    if kind in _PROMPTS:
        raise InputError(f"{file}: peft_type {kind} changes the input and no weight, so there is nothing to merge")
    if kind != "LORA":
        raise InputError(f"{file}: peft_type {kind} is not LORA; {REMEDY}")
    for name, meaning in _REFUSED.items():
        if config.get(name) not in (None, False, [], {}):
            raise InputError(f"{file}: {name} is set ({meaning}); {REMEDY}")
    start = str(config.get("init_lora_weights")).lower()
    if start.startswith(_CHANGES_BASE):
        raise InputError(f"{file}: init_lora_weights is {start}, which changes the base before training; {REMEDY}")
    return LoraSettings(
        base=config.get("base_model_name_or_path"),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
        r=_number(file, config, "r", whole=True),
        lora_alpha=_number(file, config, "lora_alpha"),
        use_rslora=bool(config.get("use_rslora")),
        rank_pattern=_patterns(file, config, "rank_pattern", whole=True),
        alpha_pattern=_patterns(file, config, "alpha_pattern"),
    )


def _number(file: Path, config: Mapping[str, Any], name: str, whole: bool = False, where: str = "") -> Any:
    value = config.get(name, 8)  # PEFT's default of both
    wrong = isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value)
    if wrong or (whole and value < 1):
        kind = "a positive integer" if whole else "a number"
        raise InputError(f"{file}: {where}{name} is {value!r} where {kind} belongs; download it again")
    return value


def _patterns(file: Path, config: Mapping[str, Any], name: str, whole: bool = False) -> dict[str, Any]:
    patterns = config.get(name) or {}
    if not isinstance(patterns, dict):
        raise InputError(f"{file}: {name} is {patterns!r} where patterns and their values belong; download it again")
    for pattern in patterns:
        try:
            re.compile(rf"(.*\.)?({pattern})$")
        except re.error as error:
            raise InputError(
                f"{file}: {name} has {pattern!r}, not a regular expression ({error}); correct it"
            ) from error
    return {pattern: _number(file, patterns, pattern, whole, f"{name} for ") for pattern in patterns}
