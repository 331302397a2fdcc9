"""The input activations of a family's experts: computed when they are first asked for, kept in paths.work/activations.

    measured = Measured(config.activations, family, config.experts, work)
    measured.hashes(["lm", "math"])       # part of a run's identity; nothing is computed
    measured.of(["lm", "math"])           # what merging takes

A file is named by a hash of what decides its content: the expert's files, the texts, the options. Several processes may
ask at once: one computes, the others wait for it.
"""

import contextlib
import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from della.activations import ACTIVATIONS_VERSION, Activations, key_of, read_activations, write_activations
from della.errors import InputError
from della.files import canonical
from della.lora import Adapter
from eval.tasks.prompts import prompt_family
from scripts.calibrating import settings
from scripts.calibrating.samples import source_of, texts_of
from scripts.family import Family

if TYPE_CHECKING:
    from scripts.schema import Experts


class Measured:
    """The activations of one family.

    Args:
        asked: the options.
        family: whose experts.
        experts: the family's options: prompts, protocol, recipe.
        work: paths.work.
    """

    def __init__(self, asked: settings.Activations, family: Family, experts: "Experts", work: Path) -> None:
        self.asked, self.family, self.recipe = asked, family, experts.recipe
        self.prompts = prompt_family(experts.prompts, experts.protocol)
        self.folder = work / "activations"
        self._texts: dict[str, list[str]] = {}
        self._held: dict[str, Activations] = {}

    def hashes(self, experts: Iterable[str]) -> dict[str, str]:
        """What a merge by these experts' activations depends on: the content of a file that was named, else the key."""
        return {
            name: self._named(name).sha256 if name in self.asked.files else key_of(self.facts(name)) for name in experts
        }

    def missing(self, experts: Iterable[str]) -> list[str]:
        """The experts whose activations have to be computed."""
        return [name for name in experts if name not in self.asked.files and not self.path(name).is_file()]

    def of(self, experts: Iterable[str]) -> dict[str, Activations]:
        """The activations of some experts; what is missing is computed first, with a progress bar.

        Raises:
            InputError: a text or a file is missing or wrong, or a model cannot be run.
        """
        for name in experts:
            if name not in self._held:
                self._held[name] = self._named(name) if name in self.asked.files else self._made(name)
        return {name: self._held[name] for name in experts}

    def facts(self, expert: str) -> dict[str, str]:
        """What decides an expert's activations."""
        texts = canonical(self.texts(expert))
        return {
            "version": str(ACTIVATIONS_VERSION),
            "model": self._sha256(expert),
            "data": hashlib.sha256(texts.encode()).hexdigest(),
            "samples": str(self.asked.samples),
            "max_tokens": str(self.asked.max_tokens),
            "dtype": self.asked.dtype or "stored",
        }

    def path(self, expert: str) -> Path:
        """Where an expert's activations are kept."""
        return self.folder / f"{expert}-{key_of(self.facts(expert))[:16]}.safetensors"

    def texts(self, expert: str) -> list[str]:
        """What an expert is shown, before it is cut to the longest text."""
        if expert not in self._texts:
            source = source_of(expert, self.asked.data, self.recipe)
            self._texts[expert] = texts_of(
                source, self.family.data, self.asked.samples, self.prompts, lambda text: self._chat(expert, text)
            )
        return self._texts[expert]

    def _chat(self, expert: str, message: str) -> str:
        from eval.tasks.chat import render_chat

        return render_chat(_tokenizer(self._tokens_from(expert)), [{"role": "user", "content": message}])

    def _tokens_from(self, expert: str) -> Path:
        """The folder of an expert's tokenizer; an adapter may have none of its own."""
        folder = self.family.models[expert].folder
        return folder if (folder / "tokenizer_config.json").is_file() else self.family.base.folder

    def _sha256(self, expert: str) -> str:
        """Of the expert's files, and of the base's where it is run with these: an adapter, or without a tokenizer."""
        model = self.family.models[expert]
        if isinstance(model, Adapter) or self._tokens_from(expert) != model.folder:
            return hashlib.sha256(f"{self.family.base.sha256()} {model.sha256()}".encode()).hexdigest()
        return model.sha256()

    def _named(self, expert: str) -> Activations:
        held = read_activations(Path(self.asked.files[expert]))
        if held.facts["model"] != self._sha256(expert):
            raise InputError(
                f"activations.files.{expert}={self.asked.files[expert]}: was computed with another model than "
                f"{self.family.models[expert].label}; compute it again with python -m scripts.activations"
            )
        return held

    def _made(self, expert: str) -> Activations:
        path = self.path(expert)
        if path.is_file():
            return read_activations(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                write_activations(path, self._compute(expert, path.with_suffix(".partial")))
                _free_device()
                path.with_suffix(".lock").unlink(missing_ok=True)
        return read_activations(path)

    def _compute(self, expert: str, unfinished: Path) -> Activations:
        from della.calibration import measure

        texts = self.texts(expert)
        with self._model(expert) as folder:
            tokens = _token_ids(self._tokens_from(expert), folder, texts, self.asked.max_tokens)
            with tqdm(
                total=len(tokens),
                desc=f"input activations of {expert}",
                unit="text",
                dynamic_ncols=True,
                disable=None,
                leave=False,
            ) as bar:
                return measure(
                    folder,
                    tokens,
                    self.facts(expert),
                    dtype=self.asked.dtype,
                    device=_device(self.asked.device),
                    unfinished=unfinished,
                    progress=bar.update,
                )

    @contextlib.contextmanager
    def _model(self, expert: str) -> Iterator[Path]:
        """The folder of an expert's model; an adapter is added to its base in a folder that is gone afterwards."""
        model = self.family.models[expert]
        if not isinstance(model, Adapter):
            yield model.folder
            return
        from della.methods import make_method
        from della.output import merge_to_folder

        whole = self.folder / f"{expert}-{self._sha256(expert)[:16]}-with-its-base"
        shutil.rmtree(whole, ignore_errors=True)
        try:
            try:
                merge_to_folder(self.family.base, {expert: model}, make_method("average"), None, whole)
            except InputError as error:
                raise InputError(f"input activations of {expert}, an adapter on its base: {error}") from None
            yield whole
        finally:
            shutil.rmtree(whole, ignore_errors=True)


def _device(asked: str) -> str:
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise InputError("activations.device=cuda: torch finds no GPU here; write activations.device=cpu")
    return "cuda" if there and asked != "cpu" else "cpu"


def _free_device() -> None:
    """Gives the GPU memory of the model that was measured back, for the engine that generates."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tokenizer(folder: Path) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _token_ids(tokenizer: Path, model: Path, texts: list[str], longest: int) -> list[list[int]]:
    """Token ids of the texts with BOS as the engines have it, cut to what is asked and what the model can take."""
    from transformers import AutoConfig

    from eval.engines.bos import PromptEncoder, read_wish

    config = AutoConfig.from_pretrained(model)
    longest = min(longest, getattr(config, "max_position_embeddings", None) or longest)
    encoder = PromptEncoder(_tokenizer(tokenizer), read_wish(tokenizer), lambda line: print(line, file=sys.stderr))
    return [encoder.ids(text)[:longest] for text in texts]
