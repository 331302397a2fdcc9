from collections import defaultdict

import pytest

from della.errors import InputError
from della.outcomes import FRAME, MERGES
from della.tables.published import Table1, read_published

ROWS = read_published()


def cells(table: str) -> dict[tuple[str, str, str, str], dict[str, float]]:
    """(merge, method, variant, drop rate) -> benchmark -> value, of one of the paper's tables."""
    out: dict = defaultdict(dict)
    for row in ROWS:
        if row.table == table and row.value is not None:
            out[row.merge, row.method, row.variant, row.drop_rate][row.benchmark] = row.value
    return out


def test_every_table_of_the_paper_is_there_in_full():
    """Table 1: 3 + 16 rows of 4; 2: 2 rows of 3; 3: 5 x 4; 4: 16 x 4; 5: 3 x (3 + 3 + 3 + 4); 6: 9 x 5; 7: 5 x 13.

    And what the text says of figures and tables: one gap of Table 2, two of Table 3, three of Figure 5 and of Table 6.
    """
    counts: dict[str, int] = defaultdict(int)
    for row in ROWS:
        counts[row.table] += 1
    assert counts == {"1": 76, "2": 6, "3": 20, "4": 64, "5": 39, "6": 45, "7": 65, "headline": 4, "text": 9}


def test_every_number_has_a_source_a_unit_and_a_locator():
    for row in ROWS:
        assert row.source == "arXiv 2406.11617v1"
        assert row.unit in ("percent", "fraction", "points")
        assert row.locator.startswith(("Table ", "Abstract", "Text on "))


def test_a_cell_is_empty_exactly_where_the_paper_prints_a_slash():
    for row in ROWS:
        assert (row.value is None) == (row.note == "not applicable (printed /)")
    empty = [row for row in ROWS if row.table == "1" and row.value is None]
    assert (
        len(empty) == 1 + 3 + 3 + 3 * 4
    )  # Avg of LM, all but GSM8K, all but MBPP; one benchmark of each pair of experts


def test_the_four_headline_gaps_follow_from_table_1():
    """Means of the Avg cells: TA 186.1 / 4 = 46.525, TIES 54.075, DARE 56.475, DELLA 57.675."""
    paper = Table1(ROWS)
    means = {method: sum(paper.average(merge, method) for merge in MERGES) / 4 for method in FRAME}
    assert means == pytest.approx({"ta_elect": 46.525, "dare_elect": 56.475, "ties": 54.075, "della": 57.675})
    assert paper.gap("della", ("ties",)) == pytest.approx(3.600)
    assert paper.gap("della", ("dare_elect",)) == pytest.approx(1.200)
    assert paper.gap("della", ("ties", "dare_elect")) == pytest.approx(2.400)
    assert paper.gap("della", ("ta_elect",)) == pytest.approx(11.150)
    printed = {row.method: row.printed for row in ROWS if row.table == "headline"}
    assert list(printed.values()) == ["3.6", "1.2", "2.4", "11.1"]


@pytest.mark.parametrize(("table", "half_digit"), [("1", 0.05), ("4", 0.05), ("5", 0.05), ("7", 0.0005)])
def test_printed_averages_are_the_means_of_their_rows_unless_noted(table, half_digit):
    """An Avg is off by at most half of its last digit, but for five cells, each with a note of what its row gives."""
    noted = {(r.merge, r.method, r.variant, r.drop_rate) for r in ROWS if r.table == table and "cells give" in r.note}
    wrong = set()
    for key, row in cells(table).items():
        if "avg" in row:
            values = [value for name, value in row.items() if name != "avg"]
            if abs(sum(values) / len(values) - row["avg"]) > half_digit + 1e-9:
                wrong.add(key)
    assert wrong == noted
    assert len(wrong) == {"1": 0, "4": 3, "5": 1, "7": 1}[table]


def test_table_3s_mean_gains_of_rescaling_are_28_points():
    """DARE: (8.8 + 13.6 + 30.3 + 43.1 + 46.4) / 5 = 28.44. DELLA: (5.2 + 13.6 + 29.1 + 46.7 + 48.8) / 5 = 28.68."""
    gains = defaultdict(list)
    values = {key: row[""] for key, row in cells("3").items()}
    for (merge, method, variant, p), value in values.items():
        if variant == "rescale":
            gains[method].append(value - values[merge, method, "no_rescale", p])
    assert sum(gains["dare"]) / 5 == pytest.approx(28.44)
    assert sum(gains["della"]) / 5 == pytest.approx(28.68)


def test_table_6s_means_give_the_gaps_of_the_text():
    """Means of nine drop rates: .628 DARE, .641 MAGPRUNE by row, .630 by tensor, .618 and .624 random ranks; the text's
    gaps are 1.3 to DARE, 1.0 to the tensor's and 1.6 to random ranks over the tensor."""
    sums = defaultdict(list)
    for (_, method, variant, _), row in cells("6").items():
        sums[variant or method].append(row["gsm8k"])
    means = {name: sum(values) / 9 for name, values in sums.items()}
    names = ("dare", "magnitude,row", "magnitude,tensor", "random,row", "random,tensor")
    assert [round(means[name], 3) for name in names] == [0.628, 0.641, 0.630, 0.618, 0.624]
    row = means["magnitude,row"]
    assert [round(100 * (row - means[name]), 1) for name in (names[0], names[2], names[4])] == [1.3, 1.0, 1.6]


def test_the_gaps_that_the_text_prints_follow_from_the_tables():
    """Table 2: 41.5 - 33.9 = 7.6 points; Tables 3 and 6 as above; Figure 5's follow from no table."""
    text = {(row.method, row.variant): row.value for row in ROWS if row.table == "text"}
    two = {variant: row["avg"] for (_, _, variant, _), row in cells("2").items()}
    assert text["", "rescale - no_rescale"] == pytest.approx(two["rescale"] - two["no_rescale"])
    assert (text["dare", "rescale - no_rescale"], text["della", "rescale - no_rescale"]) == (28.4, 28.7)
    assert [value for (_, variant), value in text.items() if variant.startswith("magnitude")] == [1.3, 1.0, 1.6]
    assert sum(variant == "constant - adaptive" for _, variant in text) == 3


def test_dellas_column_of_table_5_is_that_of_table_1():
    one, five = cells("1"), cells("5")
    for (merge, method, variant, _), row in five.items():
        if method == "della":
            assert row == one[merge, "della", "elect", ""], variant


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_published(tmp_path / "published.csv")
