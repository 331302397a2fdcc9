"""The page of scripts.compare html=FILE in a real browser: it shows, filters, moves, marks differences."""

import os

import pytest

from della.samples_html import samples_page
from tests.scripts.browser import Browser, find_browser
from tests.scripts.comparing import QUESTIONS, write_data, write_run

MUST_RUN = os.environ.get("CI") == "true"
ATTACK = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><!--<b>bold</b> \u202e & &lt;"
ROWS = "[...document.querySelectorAll('.row')].sort((a, b) => a.offsetTop - b.offsetTop)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        assert not MUST_RUN, "no chromium on this machine: .ci/run installs it"
        pytest.skip("no chromium on this machine")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(call, tmp_path):
    """The page of two records: A right on problems 0 to 29, B on 10 to 31; with prompts and references."""
    work, data = tmp_path / "work", tmp_path / "data"
    digest = write_data(data)
    ids = [
        write_run(work / "records", set(right), seed=seed, data=digest)
        for seed, right in ((1, range(30)), (2, range(10, 32)))
    ]
    file = tmp_path / "page.html"
    ended = call("compare", *ids, f"paths.work={work}", f"data={data}", f"html={file}", "show=0")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith(f"all prompts and outputs: {file}\n")
    return file


def shown(browser) -> str:
    return browser.ask("document.getElementById('count').textContent")


def detail(browser) -> str:
    return browser.ask("document.getElementById('detail').textContent")


def test_every_prompt_is_listed_with_both_verdicts_and_the_first_is_shown(browser, page):
    browser.open(page)
    assert shown(browser) == "40 of 40 prompts"
    assert browser.ask(f"{ROWS}[0].textContent").startswith("A 1B 0gsm8k 0")
    text = detail(browser)
    assert "gsm8k · id 0 · group all · 1 of 40" in text
    assert f"### Instruction:\n{QUESTIONS[0]}\n\n### Response:" in text
    assert "So 2\n#### 2" in text
    assert browser.ask("document.getElementById('runs').textContent").startswith("A: LM+Math della ")
    assert "A - B  gsm8k" in browser.ask("document.getElementById('summary').textContent")
    assert browser.errors == []


@pytest.mark.parametrize(
    ("view", "count"),
    [
        ("verdicts=right,wrong", 10),
        ("verdicts=wrong,right", 2),
        ("verdicts=wrong,wrong", 8),
        ("verdicts=right", 30),
        ("differ=1", 12),
        ("benchmark=gsm8k&metric=strict&differ=1", 12),
        ("search=has+17+pens", 1),
        ("search=THE+ANSWER+IS%3A+41", 0),
        ("search=answer+is%3A+19.", 1),
        ("verdicts=part", 0),
        ("verdicts=%3Cb%3E&benchmark=", 40),
    ],
)
def test_a_view_is_in_the_address(browser, page, view, count):
    """A alone is right on 0 to 9, B alone on 30 and 31, both are wrong on 32 to 39. Problem 17 is answered 19."""
    browser.open(page, view)
    assert shown(browser) == f"{count} of 40 prompts"
    if not count:
        assert detail(browser) == "No prompt fits these filters."


def test_the_controls_filter_and_are_kept_in_the_address(browser, page):
    browser.open(page)
    for control, value in (("verdict-0", "wrong"), ("verdict-1", "right")):
        browser.ask(f"void (document.getElementById('{control}').value = '{value}')")
        browser.ask(f"void document.getElementById('{control}').dispatchEvent(new Event('change'))")
    assert shown(browser) == "2 of 40 prompts"
    assert browser.ask("location.hash") == "#id=gsm8k+30&verdicts=wrong%2Cright"
    browser.ask("void (document.getElementById('search').value = 'has 31 pens')")
    browser.ask("void document.getElementById('search').dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('count').textContent === '1 of 40 prompts'")
    browser.ask(f"void {ROWS}[0].click()")
    assert "id 31 " in detail(browser)


def test_keys_move_filter_and_search(browser, page):
    browser.open(page)
    for key in ("j", "j", "ArrowDown", "k"):
        browser.press(key)
    assert "id 2 " in detail(browser)
    browser.press("End")
    assert "id 39 " in detail(browser)
    assert browser.ask(f"{ROWS}.at(-1).getAttribute('aria-selected')") == "true"
    browser.press("Home")
    browser.press("k")
    assert "id 0 " in detail(browser)
    browser.press("d")
    assert shown(browser) == "12 of 40 prompts"
    browser.press("/")
    assert browser.ask("document.activeElement.id") == "search"
    browser.press("j")
    assert browser.ask("document.getElementById('search').value") == "j"
    browser.press("Escape")
    assert browser.ask("document.activeElement.id") == "list"


def made(tmp_path, items, runs=("A", "B")):
    file = tmp_path / "made.html"
    file.write_text(samples_page([(name, name) for name in runs], items, {"x": ["m"]}, ATTACK, ATTACK))
    return file


def item(id_, outputs, scores=(1.0, 0.0), **others):
    plain = {"benchmark": "x", "id": id_, "group": "g", "prompt": "p", "reference": "r"}
    return plain | {"outputs": list(outputs), "scores": {"m": list(scores)}} | others


def test_hostile_text_stays_text(browser, tmp_path):
    browser.errors.clear()
    hostile = item(ATTACK, [ATTACK, f"{ATTACK} more"], prompt=ATTACK, reference=ATTACK, group=ATTACK)
    browser.open(made(tmp_path, [hostile]))
    assert browser.ask("document.querySelectorAll('pre')[1].textContent") == ATTACK
    assert detail(browser).count(ATTACK) == 6  # id, group, two outputs, reference, prompt
    assert browser.ask("typeof window.hacked") == "undefined"
    assert browser.ask("document.querySelectorAll('img, b, iframe, a').length") == 0
    assert browser.ask("document.scripts.length") == 2
    assert browser.ask("document.title") == " ".join(ATTACK.split())
    assert browser.errors == []


def test_a_script_that_got_in_would_not_run_and_nothing_is_loaded_from_anywhere(browser, page):
    browser.open(page)
    assert browser.ask("performance.getEntriesByType('resource').length") == 0
    browser.errors.clear()
    added = "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)"
    browser.ask(f"void (() => {{ {added} }})()")
    browser.ask("void document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    browser.wait("true")
    assert browser.ask("typeof window.hacked") == "undefined"
    assert sum("Content Security Policy" in error for error in browser.errors) == 2
    browser.errors.clear()


def test_differences_are_marked_word_by_word(browser, tmp_path):
    """The longest common words of the two are `the`, ` `, ` sat on the mat`: cat became dog, and `.` was added."""
    browser.open(made(tmp_path, [item("0", ["the cat sat on the mat", "the dog sat on the mat."]), item("1", "ab")]))
    assert browser.ask("[...document.querySelectorAll('del')].map((n) => n.textContent)") == ["cat"]
    assert browser.ask("[...document.querySelectorAll('ins')].map((n) => n.textContent)") == ["dog", "."]
    assert browser.ask("[...document.querySelectorAll('.outputs pre')].map((n) => n.textContent)") == [
        "the cat sat on the mat",
        "the dog sat on the mat.",
    ]


def test_outputs_that_are_equal_empty_or_not_kept_are_said_to_be(browser, tmp_path):
    items = [item("0", ["same", "same"]), item("1", ["", "full"]), item("2", [None, "full"], scores=(None, 0.5))]
    browser.open(made(tmp_path, items))
    assert "The two outputs are equal." in detail(browser)
    browser.press("j")
    assert "(empty)" in detail(browser)
    browser.press("j")
    assert "(output not kept)" in detail(browser)
    assert browser.ask(f"{ROWS}[2].textContent").startswith("A –B 0.50")


def test_outputs_too_long_for_a_difference_are_shown_whole(browser, tmp_path):
    long = [" ".join(f"{side}{i}" for i in range(2500)) for side in "ab"]
    browser.open(made(tmp_path, [item("0", long)]))
    assert "too long to be compared word by word" in detail(browser)
    assert long[1] in detail(browser)


def test_of_thousands_of_prompts_only_those_in_view_are_in_the_page(browser, tmp_path):
    items = [item(str(i), [f"{i} " * 300, f"{i + 1} " * 300], scores=(i % 2, 0)) for i in range(5000)]
    browser.open(made(tmp_path, items))
    assert shown(browser) == "5000 of 5000 prompts"
    assert browser.ask("document.querySelectorAll('.row').length") < 80
    browser.press("End")
    assert "id 4999 " in detail(browser)
    assert browser.ask("document.querySelectorAll('.row').length") < 80
    browser.ask("void (document.getElementById('list').scrollTop = 28 * 2500)")
    browser.wait(f"{ROWS}.some((row) => row.textContent.includes('x 2510'))")


def test_of_three_runs_any_two_are_compared_word_by_word(browser, tmp_path):
    three = item("0", ["one two", "one", "one two three"], scores=(1, 0, 0.5))
    file = made(tmp_path, [three], runs="ABC")
    browser.open(file, "left=B&right=C")
    assert browser.ask("[...document.querySelectorAll('ins')].map((n) => n.textContent)") == [" two three"]
    assert browser.ask("document.querySelectorAll('.outputs section').length") == 3
    browser.open(file, "verdicts=right,wrong,part")
    assert shown(browser) == "1 of 1 prompts"


def test_one_run_alone_can_be_browsed(browser, call, tmp_path):
    run = write_run(tmp_path / "records", {1, 2})
    file = tmp_path / "one.html"
    ended = call("compare", run, f"paths.work={tmp_path}", f"html={file}")
    assert (ended.code, ended.err) == (0, "")
    assert "without the prompts' text, as its data is not at hand: gsm8k" in ended.out
    browser.open(file, "verdicts=right")
    assert shown(browser) == "2 of 40 prompts"
    assert "(not at hand)" in detail(browser)


def test_a_family_s_own_data_is_found_by_its_hash(call, tmp_path):
    digest = write_data(tmp_path / "experts" / "tiny-0123-seed0" / "data")
    write_data(tmp_path / "experts" / "other" / "data")
    (tmp_path / "experts" / "other" / "data" / "gsm8k" / "test.jsonl").write_text('{"question": "?", "answer": "!"}\n')
    runs = [write_run(tmp_path / "records", {seed}, seed=seed, data=digest) for seed in (1, 2)]
    file = tmp_path / "page.html"
    ended = call("compare", *runs, f"paths.work={tmp_path}", f"html={file}")
    assert "not at hand" not in ended.out
    assert QUESTIONS[7] in file.read_text()
    wrong = call("compare", *runs, f"paths.work={tmp_path}", f"html={file}", f"data={tmp_path}/experts/other/data")
    assert wrong.err == (
        f"error: data={tmp_path}/experts/other/data: its test data of gsm8k is not what the runs answered; "
        "name that folder\n"
    )
