"""The common order of a search's prompts."""

from della.search.order import by_benchmark, interleaved, parts


def test_every_prompt_is_in_the_order_once_and_any_prefix_holds_each_benchmarks_share():
    order = interleaved({"gsm8k": 30, "mbpp": 10}, seed=3)
    assert sorted(order) == [("gsm8k", n) for n in range(30)] + [("mbpp", n) for n in range(10)]
    for length in range(1, 41):
        asked = by_benchmark(order[:length])
        assert abs(len(asked.get("mbpp", [])) - length / 4) <= 1


def test_a_benchmarks_own_order_does_not_depend_on_the_others_and_changes_with_the_seed():
    alone = by_benchmark(interleaved({"gsm8k": 30}, seed=3))["gsm8k"]
    assert by_benchmark(interleaved({"mbpp": 7, "gsm8k": 30}, seed=3))["gsm8k"] == alone
    assert by_benchmark(interleaved({"gsm8k": 30}, seed=4))["gsm8k"] != alone
    assert alone != sorted(alone)


def test_the_parts_are_the_order_cut_into_equal_pieces_none_of_them_empty():
    """10 prompts in 4 parts: the ends are 2.5, 5 and 7.5, rounded to even 2, 5 and 8."""
    order = interleaved({"gsm8k": 10}, seed=0)
    documents = [document for _, document in order]
    assert [part["gsm8k"] for part in parts(order, 4)] == [documents[:2], documents[2:5], documents[5:8], documents[8:]]
    assert len(parts(order, 99)) == 10
