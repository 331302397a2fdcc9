"""Golden hashes: bytes that only a new MERGE_VERSION may change."""

import pytest
import torch

from della.activations import Activations
from della.merge import MERGE_VERSION, merge_tensors
from della.methods import METHODS, make_method
from della.policy import Policy
from tests.della.models import content_hash, philox_family, philox_tensor

GOLDEN_VERSION = 1
GOLDEN = {
    ("average", "float32"): "3f55de34a13b9f2a0d8cfaef2fa8ef492f6061a865b369e597bd31042531fb1c",
    ("average", "bfloat16"): "9089b0ebfa70917ec2dd97457465e3d04cb828f3c26f121df10fee5871b8e3fc",
    ("task_arithmetic", "float32"): "d0196e5ce742738c251def7b6567942e040b166c9d1dda896a06212aa1ba5329",
    ("task_arithmetic", "bfloat16"): "cf43972fcf52e03267ae9d27392de7ccadc37b3de5aebb2635960f5d14b8a028",
    ("dare", "float32"): "9458504f2090901ff27d76b103765ecbe341e9ec44b1cfd0cb2b7e4838c31141",
    ("dare", "bfloat16"): "72f44d7e2c6f463d600f7cce5fcd25e2647cd3bd8da58677ca6ec4276806d307",
    ("dare_ties", "float32"): "69531705566c1f14d8bf98a56c2ff84231639ccd3b8cd4dfa13c0ee8daf12c05",
    ("dare_ties", "bfloat16"): "0190039b6675d799dea6abaeed6dabbab5e543fcf9a86b2dbcf6a004ae511357",
    ("ta_elect", "float32"): "25d9153a2043b5226ecefb7d662410d785a93c6276d90951c9d42903d7d87112",
    ("ta_elect", "bfloat16"): "b06f92878d4494167841082a17cb8fbdcdf800547c6543614918ecf7c048113a",
    ("dare_elect", "float32"): "1c6818dd8d75b464d61869c870b0fdb09a0e5d0a940b6439420e329c4d78aca8",
    ("dare_elect", "bfloat16"): "527184d5b753f824c33741c103ca9e5ca3094ba193391b45b347002a4576dee0",
    ("ties", "float32"): "4f83f1b7493915f81776b9bc23023c2cc9c2237f966e62f0b80bedde83d6d708",
    ("ties", "bfloat16"): "645e29616ea75b2b402a96452698e9d8bc856a7045f4d94f79462527d914ed10",
    ("della", "float32"): "fcdc2cdc4a64b6d0d927ee904e3e0302d2cba0f3e5a1bb858ec35addd2bc6e7f",
    ("della", "bfloat16"): "73086633a2934578cd2f24866513656332d643a7edcc312a8fb56ff3659483ed",
    ("linear", "float32"): "587d012cf8aebdf69d73d76a0d3fe29f0b191f55b27ccb226a6f8e6ca0dcaa05",
    ("linear", "bfloat16"): "9089b0ebfa70917ec2dd97457465e3d04cb828f3c26f121df10fee5871b8e3fc",
    ("breadcrumbs", "float32"): "e4445f37ad570e0f2f015311b93e1792304c4cbb57875858ccfe1557c50e8c13",
    ("breadcrumbs", "bfloat16"): "9fe263429b69edf7379aa53449d36e6563dac4214d805cf986594c327b0cf58c",
    ("model_stock", "float32"): "e41dcafa385da1a29ba1415e4a3a6bbf65082d2cf971166fc243348f6da41e6d",
    ("model_stock", "bfloat16"): "92d2b3add4e86e48582dc96bbf01d8eaa95908c4857371c6f60fe03f6a8bad0c",
}


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", METHODS)
def test_merged_bytes_are_those_of_this_merge_version(name, stored):
    """If this fails and the change is meant: raise MERGE_VERSION and GOLDEN_VERSION, and renew the hashes."""
    assert MERGE_VERSION == GOLDEN_VERSION
    base, models = philox_family(dtype=getattr(torch, stored))
    assert content_hash(merge_tensors(base, models, make_method(name), 1)) == GOLDEN[name, stored]


VARIANTS = {  # what they are -> method, its options, the policy's
    "della rescale=l1": ("della", {"rescale": "l1"}, {}),
    "della rescale=none": ("della", {"rescale": "none"}, {}),
    "della rank_by=random": ("della", {"rank_by": "random"}, {}),
    "della rank_over=tensor": ("della", {"rank_over": "tensor"}, {}),
    "della elect=false fuse=sum": ("della", {"elect": False, "fuse": "sum", "lambda_": 0.7}, {}),
    "della with weights": ("della", {"drop_rate": 0.7}, {"weights": {"lm": 0.3, "math": -1.5}}),
    "della without its matrices": ("della", {}, {"exclude": ("*.weight",)}),
    "dare rescale=l1": ("dare", {"rescale": "l1"}, {}),
    "ties trim_over=global": ("ties", {"trim_over": "global"}, {}),
    "linear fuse=sum with weights": ("linear", {"fuse": "sum"}, {"weights": {"lm": 0.3}}),
    "della rank_by=proportional": ("della", {"rank_by": "proportional"}, {}),
    "della rank_by=wanda": ("della", {"rank_by": "wanda"}, {}),
    "della lambda_by=adaptive": ("della", {"lambda_by": "adaptive"}, {}),
    "ties trim_over=row": ("ties", {"trim_over": "row"}, {}),
    "ties rank_by=wanda": ("ties", {"rank_by": "wanda"}, {}),
}
GOLDEN_VARIANTS = {
    "della rescale=l1": "b6ca798648ef78434f5034d1bf60dc5106fcd890fbcbef3ed7971b9ca7a34dc1",
    "della rescale=none": "fe7f37200465c9c23048a769dcaa14e93b92700e2b0328a5e3f4b86d4e1d8575",
    "della rank_by=random": "a70bd8f0f3bb1b156e6d1f77db9e00fdf6e8fa3d85c86eae0298a57d4c2e1680",
    "della rank_over=tensor": "46dde9e0a326b8f09f7a6ed3b930cb5df6dfdfbc1142e84f215f5d4e189f9538",
    "della elect=false fuse=sum": "40ddbd5e0815cf957f7ed71624ad4bf8048c65537c4f8fb792f316c57ae7eacd",
    "della with weights": "98d4f24ae295768ea5c89f3b09c924f1e04cba3c952d9b0932098646854eb282",
    "della without its matrices": "c6ed94081941d471b27552fec2dcb09e8046197925f8b15d0c3bcb0cd8c31a18",
    "dare rescale=l1": "85549bd56240f08ded9e980df24f8ef489e8b5384c56240711be1c5662c1ea7c",
    "ties trim_over=global": "950ceb8eac49a73f6e51ca661b9fa8763ebc1e6621f1b4565924e66ed5bc8d05",
    "linear fuse=sum with weights": "23b1fd4031e07d35f529eddcfa0db79d140d75b4689b58eff2b05ee9f9dd5cb0",
    "della rank_by=proportional": "1fcc26709576927661f058f386b13ee1e940334e450487fd7ce818280d28e39b",
    "della rank_by=wanda": "3196c613cec0c8595e20788adc5c40de59f52878384e8cfef9f76cd2943772e0",
    "della lambda_by=adaptive": "0fa5361eebe43b75ca2f7b5961658c4ce6e1539650b75354ee95c8e86e535391",
    "ties trim_over=row": "aad9c7f85d48b669508de46f72ec8127ba78627e4e34c2e12d6acf2bb8f7f0c3",
    "ties rank_by=wanda": "5e912b324f3b48d0692d931e61ba2fe9a08d042b70dbd86f08acfc46b093b3f2",
}


def philox_activations(expert: str) -> Activations:
    """Norms made of Philox integers, some of them 0, for the matrices; w.conv has none."""
    columns = {"a.weight": 40, "b.weight": 1}
    return Activations({k: philox_tensor(f"{expert} norms {k}", (n,)).abs().numpy() for k, n in columns.items()})


@pytest.mark.parametrize("variant", VARIANTS)
def test_so_are_those_of_other_options(variant):
    name, options, policy = VARIANTS[variant]
    base, models = philox_family()
    method = Policy(make_method(name, **options), **policy)
    activations = {expert: philox_activations(expert) for expert in models}
    assert content_hash(merge_tensors(base, models, method, 1, activations=activations)) == GOLDEN_VARIANTS[variant]
    assert GOLDEN_VARIANTS[variant] not in GOLDEN.values()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_gives_the_same_bytes(name):
    base, models = philox_family()
    theirs = merge_tensors(base, models, make_method(name), 1, device="cuda")
    assert content_hash(theirs) == GOLDEN[name, "float32"]
