"""`python -m scripts.activations`, and the commands that rank by what it measures."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from della.activations import read_activations
from della.record import load_records
from scripts.calibrating.measured import Measured
from scripts.calibrating.samples import source_of, texts_of
from scripts.door import prepare
from scripts.family import open_family
from scripts.run import single_point
from scripts.schema import CONFIGS
from scripts.session import Session
from tests.della import adapters

PICO = ("experts=tiny_pico", "activations.samples=4")
WANDA = ("method.rank_by=wanda", "method.epsilon=0.4")
SHORT = ("engine=hf", "tracking=none", "experts.max_new_tokens=4", "limit=2", "split=dev", "experts.merge=[lm,math]")


def composed(root: str, *overrides: str):
    prepare()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_object(compose(root, overrides=list(overrides)))


def named(pico) -> list[str]:
    return [f"experts.base={pico.base}", *(f"experts.models.{name}={pico.models[name]}" for name in ("lm", "math"))]


def refused(ended, *said: str) -> None:
    """Exit code 2 and one line on standard error, with all of `said` in it."""
    assert ended.code == 2, ended
    assert len(ended.err.splitlines()) == 1, ended.err
    for part in said:
        assert part in ended.err


# The command


def test_every_expert_is_measured_once_and_found_the_second_time(call, work):
    first = call("activations", *PICO, f"paths.work={work}")
    assert first.code == 0
    lines = first.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["code", "lm", "math"]
    files = sorted((work / "activations").glob("*.safetensors"))
    assert [file.name.split("-")[0] for file in files] == ["code", "lm", "math"]
    held = read_activations(files[2])
    assert (held.facts["samples"], held.facts["max_tokens"]) == ("4", "2048")
    before = [file.stat().st_mtime_ns for file in files]
    assert call("activations", *PICO, f"paths.work={work}").out == first.out
    assert [file.stat().st_mtime_ns for file in files] == before
    assert sorted(path.suffix for path in (work / "activations").iterdir()) == [".safetensors"] * 3


def test_other_samples_or_longest_texts_are_other_files(call, work):
    for option in ("activations.samples=3", "activations.max_tokens=5"):
        assert call("activations", *PICO, option, "experts.merge=[math]", f"paths.work={work}").code == 0
    assert len(list((work / "activations").glob("math-*.safetensors"))) == 2


def test_the_tiny_familys_texts_are_its_own_training_problems(pico):
    """A prompt of the family, a space and the answer, as it was trained; instructions alone have no reference."""
    row = json.loads((pico.data / "gsm8k" / "train.jsonl").read_text().splitlines()[0])
    (text,) = texts_of("gsm8k", pico.data, 1, "tiny")
    assert text == f"### Instruction:\n{row['question']}\n\n### Response: {row['answer']}"
    (asked,) = texts_of("alpaca_eval", pico.data, 1, "tiny")
    assert asked.endswith("### Response:")
    assert [source_of(name, {}, "pico") for name in ("lm", "math", "code")] == ["alpaca_eval", "gsm8k", "mbpp"]
    assert [source_of(name, {}, None) for name in ("lm", "math", "code")] == ["c4", "gsm8k", "mbpp"]


def test_published_files_give_their_training_problems(tmp_path):
    """MBPP's are task_id 601 to 974."""
    (tmp_path / "mbpp").mkdir()
    rows = [{"task_id": n, "text": f"t{n}", "code": f"c{n}", "test_list": ["assert f"]} for n in (11, 600, 601, 974)]
    (tmp_path / "mbpp" / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = texts_of("mbpp", tmp_path, 2, "wizard_13b")
    assert [text.split("\n\n### Response: ")[1] for text in texts] == ["c601", "c974"]


def test_texts_of_c4_are_read_as_published_and_as_plain_lines(tmp_path):
    (tmp_path / "c4").mkdir()
    packed = tmp_path / "c4" / "c4-train.00000-of-01024.json.gz"
    with gzip.open(packed, "wt") as file:
        file.write('{"text": "first\\ntext", "url": "u"}\n{"text": "second"}\n')
    assert texts_of("c4", tmp_path, 2, "tiny") == ["first\ntext", "second"]
    (tmp_path / "mine.txt").write_text("one\n\n two \n")
    assert texts_of(str(tmp_path / "mine.txt"), None, 2, "tiny") == ["one", "two"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("activations.data.lm=c4", ("no texts of C4: put a part of it", "/c4; or name a file as activations.data.lm=")),
        ("activations.data.lm=nix.txt", ("nix.txt: no such file of texts",)),
        ("activations.samples=4000", ("has 320 texts; write activations.samples=320",)),
        ("activations.samples=0", ("activations.samples=0: write a whole number from 1",)),
        ("activations.dtype=int8", ("activations.dtype=int8: write one of float32",)),
        ("activations.files.lm=nix", ("nix: no such file of input activations",)),
        ("experts.merge=[mth]", ("there is no expert 'mth'",)),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_measured(call, work, option, said):
    refused(call("activations", *PICO, option, f"paths.work={work}"), *said)
    assert not (work / "activations").exists()


def test_a_text_file_of_something_else_is_one_line(call, work, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"content": "a"}\n')
    refused(
        call("activations", *PICO, f"activations.data.lm={tmp_path / 'x.jsonl'}", f"paths.work={work}"),
        'x.jsonl, line 1: has no "text"',
    )


def test_an_expert_of_another_name_needs_its_texts_named(call, pico, work):
    models = (f"experts.base={pico.base}", f"experts.models.bio={pico.models['lm']}", "experts=folders")
    refused(call("activations", *models, f"paths.work={work}"), "activations.data.bio is not set: write gsm8k, mbpp")


# Merges


def test_a_merge_by_named_files_equals_that_by_what_is_computed(call, pico, work, tmp_path):
    data = [f"experts.data={pico.data}", "experts.prompts=tiny", "activations.data.lm=alpaca_eval"]
    common = [*named(pico), *data, *PICO[1:], *WANDA, f"paths.work={work}"]
    assert call("merge", *common, f"out={tmp_path / 'computed'}").code == 0
    files = {file.name.split("-")[0]: file for file in (work / "activations").glob("*.safetensors")}
    given = [f"activations.files.{name}={file}" for name, file in files.items()]
    assert call("merge", *named(pico), *given, *WANDA, f"out={tmp_path / 'named'}").code == 0
    one, other = (tmp_path / name for name in ("computed", "named"))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    facts = json.loads((one / "merge.json").read_text())
    assert sorted(facts["inputs"]["activations"]) == sorted(facts["config"]["activations"]) == ["lm", "math"]
    assert call("merge", *named(pico), *WANDA[1:], f"out={tmp_path / 'plain'}").code == 0
    assert (tmp_path / "plain" / "model.safetensors").read_bytes() != (one / "model.safetensors").read_bytes()


def test_activations_of_another_model_are_refused(call, pico, work, tmp_path):
    assert call("activations", *PICO, "experts.merge=[math]", f"paths.work={work}").code == 0
    (file,) = (work / "activations").glob("*.safetensors")
    given = [f"activations.files.{name}={file}" for name in ("lm", "math")]
    refused(
        call("merge", *named(pico), *given, *WANDA, f"out={tmp_path / 'out'}"),
        f"activations.files.lm={file}: was computed with another model",
    )
    assert not (tmp_path / "out").exists()


def test_a_plan_names_texts_that_are_missing(call, pico, work):
    ended = call("plan", *named(pico), *WANDA, f"paths.work={work}")
    assert ended.code == 2
    assert "error: no texts of C4: put a part of it" in ended.err
    assert "error: input activations on gsm8k need its training file" in ended.err
    given = (f"experts.data={pico.data}", "experts.prompts=tiny", "activations.data.lm=alpaca_eval", *PICO[1:])
    assert call("plan", *named(pico), *WANDA, *given, f"paths.work={work}").code == 0


def test_an_adapter_is_measured_on_its_base(call, pico, work, tmp_path):
    """With another name and no tokenizer of its own; it is a model only while it is measured."""
    adapters.train(pico.base, tmp_path / "lora", target_modules=["q_proj", "up_proj"])
    config = composed(
        "activations",
        "experts=folders",
        f"experts.base={pico.base}",
        f"++experts.models.lora={tmp_path / 'lora'}",
        "experts.prompts=tiny",
        f"experts.data={pico.data}",
        "++activations.data.lora=gsm8k",
        "activations.samples=4",
    )
    family = open_family(config.experts, 0, work)
    held = Measured(config.activations, family, config.experts, work).of(["lora"])["lora"]
    assert len(held.norms) > 7
    assert [path.suffix for path in (work / "activations").iterdir()] == [".safetensors"]
    common = [f"experts.base={pico.base}", f"experts.models.lora={tmp_path / 'lora'}", "experts.prompts=tiny"]
    more = [f"experts.data={pico.data}", "activations.data.lora=gsm8k", "activations.samples=4"]
    out = tmp_path / "out"
    assert call("merge", *common, *more, *WANDA, f"paths.work={work}", f"out={out}").code == 0


def test_an_expert_without_a_tokenizer_is_another_one_with_another_bases_tokenizer(pico, work, tmp_path):
    shutil.copytree(pico.models["lm"], tmp_path / "lm")
    for file in (tmp_path / "lm").glob("*token*"):
        file.unlink()
    said = []
    for name in ("base", "other"):
        shutil.copytree(pico.base, tmp_path / name)
        given = (f"experts.base={tmp_path / name}", f"++experts.models.lm={tmp_path / 'lm'}")
        more = ("experts.prompts=tiny", f"experts.data={pico.data}", "activations.samples=4")
        if name == "other":
            file = tmp_path / name / "tokenizer_config.json"
            file.write_text(file.read_text().rstrip() + "\n\n")
        config = composed("activations", "experts=folders", *given, *more, "++activations.data.lm=gsm8k")
        family = open_family(config.experts, 0, work)
        said.append(Measured(config.activations, family, config.experts, work).facts("lm")["model"])
    assert said[0] != said[1]


# Runs


def test_activations_are_part_of_a_run_only_where_its_options_use_them(work):
    """Nothing is computed to know a run's identity."""
    plain = ("experts=tiny_pico", "experts.merge=[lm,math]", f"paths.work={work}")
    said = {}
    for name, more in {
        "magnitude": (),
        "magnitude, other samples": ("activations.samples=3",),
        "wanda": ("method.rank_by=wanda",),
        "wanda, other samples": ("method.rank_by=wanda", "activations.samples=3"),
    }.items():
        session = Session(composed("run", *plain, *more))
        point = single_point(session.config, [])
        said[name] = session.describe(point)["inputs"], session.identity(point)
    assert "activations" not in said["magnitude"][0]
    assert said["magnitude"] == said["magnitude, other samples"]
    assert sorted(said["wanda"][0]["activations"]) == ["lm", "math"]
    assert len({identity for _, identity in said.values()}) == 3
    assert not (work / "activations").exists()


def test_a_run_measures_what_it_needs_and_records_it(call, work):
    ended = call("run", *PICO, *SHORT, *WANDA, f"paths.work={work}")
    assert ended.code == 0, ended.err
    (record,) = load_records(work / "records")
    assert sorted(record["inputs"]["activations"]) == ["lm", "math"]
    files = {file.name.split("-")[0]: file for file in (work / "activations").glob("*.safetensors")}
    assert record["merge"]["activations"] == {name: read_activations(file).sha256 for name, file in files.items()}


def test_an_expert_with_more_tokens_than_the_base_is_measured_as_it_is(call, pico, work, tmp_path):
    """The expert's own folder is run; its matrices read the same features, so its norms fit the base's tensors."""
    import torch
    from safetensors.torch import load_file, save_file

    longer = tmp_path / "longer"
    shutil.copytree(pico.models["lm"], longer)
    weights = load_file(longer / "model.safetensors")
    for name in weights:
        if "embed" in name or "lm_head" in name:
            weights[name] = torch.cat([weights[name], weights[name][:1]])
    save_file(weights, longer / "model.safetensors", {"format": "pt"})
    config = json.loads((longer / "config.json").read_text())
    (longer / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 1}))
    models = [f"experts.base={pico.base}", f"experts.models.lm={longer}", "experts.vocab=base_rows"]
    texts = [f"experts.data={pico.data}", "experts.prompts=tiny", "activations.data.lm=alpaca_eval", *PICO[1:]]
    ended = call("merge", *models, *texts, *WANDA, f"paths.work={work}", f"out={tmp_path / 'out'}")
    assert ended.code == 0, ended.err
    assert Path(tmp_path / "out" / "model.safetensors").is_file()
