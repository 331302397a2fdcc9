"""The page of samples as a text: one file, hostile text inside it stays data. In a browser: tests/scripts."""

import base64
import hashlib
import json
import re

import pytest

from della.samples_html import as_script_data, samples_page

HOSTILE = "</script><script>alert(1)</script><!--<script> ]]> &lt; \u2028\u2029 \ud800 \x00 '\"`${1}"


def item(**changes) -> dict:
    plain = {"benchmark": "gsm8k", "id": "0", "group": "all", "prompt": "2 + 2?", "reference": "4"}
    return plain | {"outputs": ["4", "5"], "scores": {"flexible": [1.0, 0.0]}} | changes


def page(*items: dict, **others) -> str:
    return samples_page([("A", "one"), ("B", "two")], items, {"gsm8k": ["flexible"]}, **others)


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_data_come_back_as_they_were():
    found = data_of(page(item(), summary="A - B"))
    assert found["items"] == [["gsm8k", "0", "all", "2 + 2?", "4", ["4", "5"], {"flexible": [1.0, 0.0]}]]
    assert found["runs"] == [{"name": "A", "label": "one"}, {"name": "B", "label": "two"}]
    assert found["summary"] == "A - B"


@pytest.mark.parametrize("where", ["prompt", "reference", "id", "group"])
def test_hostile_text_stays_data(where):
    text = page(item(**{where: HOSTILE}), summary=HOSTILE)
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "<!--" not in text
    assert text.isascii()
    assert HOSTILE in data_of(text)["items"][0]


def test_a_hostile_title_is_escaped():
    assert "<title>&lt;/title&gt;&lt;b&gt;</title>" in page(item(), title="</title><b>")


def test_marks_of_the_template_in_a_text_are_left_alone():
    assert data_of(page(item(prompt="@@DATA@@ @@POLICY@@")))["items"][0][3] == "@@DATA@@ @@POLICY@@"


def test_script_data_is_json_without_a_character_that_html_reads():
    text = as_script_data({"<&>": HOSTILE})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"<&>": HOSTILE}


def test_the_policy_allows_this_style_and_this_script_and_nothing_else():
    text = page(item())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_the_page_names_nothing_outside_itself():
    text = page(item())
    assert not re.search(r"https?:|//\w|<link|<img|<iframe|\bsrc=|@import|url\(|fetch\(|innerHTML|eval\(", text)


def test_equal_samples_give_equal_bytes():
    assert page(item()) == page(item())


@pytest.mark.parametrize(
    "wrong", [{"outputs": ["4"]}, {"scores": {"flexible": [1.0]}}, {"outputs": ["4", "5", "6"]}], ids=str
)
def test_an_item_that_does_not_fit_the_runs_is_refused(wrong):
    with pytest.raises(ValueError, match=r"item gsm8k 0: lacks \[\] or fits no 2 runs"):
        page(item(**wrong))
    with pytest.raises(ValueError, match="prompt"):
        page({key: value for key, value in item().items() if key != "prompt"})
