"""Swapped weights are compared, as the engine holds them, with the merge's own: a mismatch is an error with a name."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file

from eval.engines import open_engine
from eval.engines.checksum import compare, make_piece, pieces_of, sha256
from eval.engines.weights import Weights
from eval.errors import InputError

EMBEDDINGS = "model.embed_tokens.weight"
KEYS = "model.layers.1.self_attn.k_proj.weight"


@pytest.fixture(scope="module")
def engine(engine_name, pico):
    engine = open_engine(engine_name, pico, dtype="float32")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tensors(other_pico):
    return load_file(other_pico / "model.safetensors")


def altered(tensors, name, where=-1):
    """One value of one tensor, moved to the next float."""
    changed = tensors[name].clone()
    flat = changed.view(-1)
    flat[where] = torch.nextafter(flat[where], torch.tensor(9.0))
    return {**tensors, name: changed}


def swap_with_fault(engine, tensors, held, monkeypatch):
    """swap(tensors) where the engine in truth takes up `held`."""
    load = engine.load
    monkeypatch.setattr(engine, "load", lambda weights: load(Weights(held)))
    try:
        return engine.swap(tensors)
    finally:
        monkeypatch.undo()


def test_the_digest_of_a_tensor_is_that_of_its_bytes_with_0_for_minus_0():
    values = torch.tensor([[1.0, -0.0], [0.5, 2.0]])
    expected = hashlib.sha256(torch.tensor([[1.0, 0.0], [0.5, 2.0]]).numpy().tobytes()).hexdigest()
    assert sha256(values) == expected
    assert sha256(values.T) != expected
    assert sha256(values.T.contiguous().T) == expected
    bits = torch.tensor([1.0, -2.0]).bfloat16().view(torch.uint8).numpy().tobytes()
    assert sha256(torch.tensor([1.0, -2.0]).bfloat16()) == hashlib.sha256(bits).hexdigest()


def test_every_single_value_of_every_tensor_counts(engine, tensors, monkeypatch):
    """The last value of each tensor in turn is one float larger in the engine: named, and nothing else is."""
    good = engine.swap(tensors)
    for name in sorted(tensors):
        with pytest.raises(InputError, match=r"does not hold the weights it was given") as error:
            swap_with_fault(engine, tensors, altered(tensors, name), monkeypatch)
        assert f"given: {name} differs" in str(error.value)
        assert engine.checksum is None
    assert engine.swap(tensors) == engine.checksum == good


def test_the_checksum_is_the_same_in_both_engines_and_another_for_other_weights(engine, tensors, pico):
    """By hand: SHA-256 over the sorted lines of all tensors, each with its own digest."""
    lines = []
    for name, tensor in tensors.items():
        rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
        digest = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        lines.append(f"{name} [0, {rows}] [0, {columns}] None float32 {digest}")
    assert engine.swap(tensors) == hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    assert engine.swap(load_file(pico / "model.safetensors")) != engine.swap(tensors)


def test_weights_that_are_corrupted_after_loading_are_caught(engine, tensors, monkeypatch):
    """A key of layer 1, in the matrix that the engine multiplies by, packed or not."""
    load = engine.load

    def corrupt(weights):
        load(weights)
        if engine.name == "hf":
            engine.model.state_dict()[KEYS][3, 5] += 1e-6
        else:
            engine.llm.apply_model(corrupt_packed_key)

    monkeypatch.setattr(engine, "load", corrupt)
    with pytest.raises(InputError, match=r"given: model\.layers\.1\.self_attn\.k_proj\.weight differs; open it anew"):
        engine.swap(tensors)


def corrupt_packed_key(model) -> None:
    """k's rows come after q's in the fused matrix: row 64 + 3 of 3 x 64."""
    from eval.engines.held import read_matrix

    layer = model.model.layers[1].self_attn.qkv_proj
    matrix = read_matrix(layer, None).contiguous()
    matrix[64 + 3, 5] += 1e-6
    layer.weight = torch.nn.Parameter(matrix, requires_grad=False)
    layer.quant_method.process_weights_after_loading(layer)


def test_an_output_layer_that_goes_on_with_old_embeddings_is_caught(engine, tensors, pico, monkeypatch):
    """What vLLM does on the CPU where nobody packs the tied output layer anew."""
    engine.swap(load_file(pico / "model.safetensors"))
    if engine.name == "vllm":
        call = engine.llm.collective_rpc
        left_out = "della_renew_output"
        monkeypatch.setattr(
            engine.llm, "collective_rpc", lambda method, *a, **k: call(method, *a, **k) if method != left_out else None
        )
    else:
        stale = torch.nn.Linear(64, tensors[EMBEDDINGS].shape[0], bias=False)
        monkeypatch.setattr(engine.model, "get_output_embeddings", lambda: stale)
    with pytest.raises(InputError, match=r"given: model\.embed_tokens\.weight differs"):
        engine.swap(tensors)
    monkeypatch.undo()
    engine.swap(tensors)


def test_a_sample_catches_a_tensor_of_another_model_and_looks_at_16_columns(engine, tensors, monkeypatch):
    other = {**tensors, KEYS: tensors[KEYS].roll(1, dims=0)}
    monkeypatch.setattr(engine.settings, "checksum", "sample")
    seen = []
    held = engine.held
    monkeypatch.setattr(engine, "held", lambda mode: seen.append(held(mode)) or seen[-1])
    engine.swap(tensors)
    (piece,) = {str(piece): piece for piece in seen[0] if piece["name"] == KEYS}.values()
    assert len(piece["picked"]) == 16
    load = engine.load
    monkeypatch.setattr(engine, "load", lambda weights: load(Weights(other)))
    with pytest.raises(InputError, match=r"k_proj\.weight differs"):
        engine.swap(tensors)


def test_without_the_check_nothing_is_read_back(engine, tensors, monkeypatch):
    monkeypatch.setattr(engine.settings, "checksum", "none")
    monkeypatch.setattr(engine, "held", lambda mode: pytest.fail("read back"))
    assert engine.swap(tensors) is None


def test_a_dtype_is_the_engines_and_another_is_said():
    values = {"a": torch.randn(4, 8)}
    rounded = {"a": values["a"].bfloat16()}
    compare(pieces_of(rounded, "full"), ["a"], values.get, "bfloat16")
    with pytest.raises(InputError, match=r"a is bfloat16 there, engine\.dtype is float32"):
        compare(pieces_of(rounded, "full"), ["a"], values.get, "float32")


def test_a_tensor_held_in_parts_must_be_held_whole():
    """Rows 0 to 4 and 4 to 8 of 8, by two workers; a norm by both; the second half missing is said."""
    whole = {"w": torch.randn(8, 6), "n": torch.randn(8)}
    halves = [make_piece("w", whole["w"][a:b], (a, b), (0, 6), None) for a, b in ((0, 4), (4, 8))]
    norms = [make_piece("n", whole["n"], (0, 8), (0, 1), None)] * 2
    columns = [make_piece("w", whole["w"][:, a:b], (0, 8), (a, b), None) for a, b in ((0, 3), (3, 6))]
    assert compare([*halves, *norms], whole, whole.get, "float32") != compare(
        [*columns, *norms], whole, whole.get, "float32"
    )
    with pytest.raises(InputError, match="of w 24 of 48 values are held"):
        compare([halves[0], halves[0], *norms], whole, whole.get, "float32")
    with pytest.raises(InputError, match=r"does not say what it holds of w: .* write engine\.checksum=none"):
        compare(norms, whole, whole.get, "float32")
    with pytest.raises(InputError, match=r"w, rows 4 to 8, columns 0\.\. differs"):
        compare([halves[0], {**halves[0], "rows": [4, 8]}, *norms], whole, whole.get, "float32")
