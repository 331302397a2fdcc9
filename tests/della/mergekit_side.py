"""What the tests ask of mergekit itself, run by the Python of its own environment, where della is not.

    python mergekit_side.py values REQUEST.json ANSWER.json    {name: recipe} -> {name: {tensor: parameters}}
    python mergekit_side.py merge REQUEST.json FOLDER          every recipe merged into FOLDER/name
    python mergekit_side.py masked REQUEST.json FOLDER MASKS   the same, masks from MASKS/name.safetensors

The masked merges also leave what mergekit asked torch.bernoulli for, in FOLDER/name/probabilities.safetensors. A recipe
is what a mergekit YAML file holds. Masks are called EXPERT/TENSOR, EXPERT being the last part of a model's path.
"""

import json
import sys
from pathlib import Path

import torch
from mergekit.architecture import get_architecture_info
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import _model_out_config, run_merge
from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner
from safetensors.torch import load_file, save_file

OPTIONS = MergeOptions(
    write_model_card=False, quiet=True, copy_tokenizer=False, device="cpu", lora_merge_cache="models_with_adapters"
)


def values(recipe: dict) -> dict:
    """Tensor -> the parameters that mergekit would merge it with: shared, and per model."""
    config = MergeConfiguration.model_validate(recipe)
    architecture = get_architecture_info(config, OPTIONS)
    LoaderCache().setup(OPTIONS)
    planner = MergePlanner(config, architecture, OPTIONS, _model_out_config(config, architecture))
    planner._plan()  # plan_in_memory() of 0.1.5 ends in an error of its own
    found = {}
    for weight, task in planner._tensors:
        found[weight.name] = {
            "shared": dict(task.parameters.items()),
            "models": {str(model): dict(own.items()) for model, own in task.input_parameters.items()},
        }
    return found


def main() -> None:
    what, request, answer = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    recipes = json.loads(request.read_text())
    if what == "values":
        answer.write_text(json.dumps({name: values(recipe) for name, recipe in recipes.items()}))
        return
    for name, recipe in recipes.items():
        config = MergeConfiguration.model_validate(recipe)
        if what == "merge":
            run_merge(config, str(answer / name), OPTIONS)
            continue
        probabilities = with_masks(load_file(Path(sys.argv[4]) / f"{name}.safetensors"))
        run_merge(config, str(answer / name), OPTIONS)
        save_file(probabilities, answer / name / "probabilities.safetensors")


def with_masks(masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """From now on torch.bernoulli answers with these masks; what it is asked for is kept in the result."""
    turn: list[str] = []
    asked: dict[str, torch.Tensor] = {}
    merge_group = ORIGINAL

    def named(self, group, /, **parameters):
        drawn = [entry for entry in group.non_base if parameters["density"][entry.id] < 1]
        turn[:] = [f"{Path(str(entry.id)).name}/{group.metadata.name}" for entry in drawn]
        return merge_group(self, group, **parameters)

    def drawn(probabilities: torch.Tensor) -> torch.Tensor:
        name = turn.pop(0)
        asked[name] = probabilities.clone()
        return masks[name].to(probabilities.dtype).reshape(probabilities.shape)

    GeneralizedTaskArithmeticMerge.merge_group = named
    torch.bernoulli = drawn
    return asked


ORIGINAL = GeneralizedTaskArithmeticMerge.merge_group

if __name__ == "__main__":
    main()
