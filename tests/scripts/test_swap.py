"""A point's weights as its engine takes them: tensors in memory, or the same in a folder for other processes."""

import pytest
from safetensors.torch import load_file

from scripts.points import Point, options_of
from scripts.session import Session
from scripts.swap import weights_for
from tests.scripts.test_configs import composed

SERVER = ("engine=openai", "engine.url=http://127.0.0.1:1/v1")


@pytest.fixture
def open_session(work):
    """open_session(overrides): nothing is opened yet but the family's files."""
    return lambda *more: Session(composed("run", "experts=tiny_pico", f"paths.work={work}", *more))


def point(method, merge, **options):
    return Point(0, merge, method, options_of(method, options), 1, "test", None, "merge")


def given(session, one):
    return weights_for(one, session.family(0), session.config, session.merged)


def test_a_merge_written_for_other_processes_is_the_one_in_memory_and_gone_afterwards(open_session, work):
    one = point("della", ("lm", "math"), drop_rate=0.5, epsilon=0.2)
    with given(open_session(), one) as (tensors, rates):
        pass
    with given(open_session(*SERVER), one) as (folder, rates_of_folder):
        written = load_file(folder / "model.safetensors")
        assert folder.is_absolute()
        assert (folder / "config.json").is_file()
    assert rates_of_folder == rates
    assert written.keys() == tensors.keys()
    assert all((written[name] == tensors[name]).all() for name in tensors)
    assert not folder.exists()


@pytest.mark.parametrize("merge", [(), ("code",)])
def test_a_model_as_it_is_needs_no_copy(merge, open_session):
    session = open_session(*SERVER)
    with given(session, point("unmerged", merge)) as (folder, rates):
        assert folder == (session.family(0).models[merge[0]] if merge else session.family(0).base).folder.absolute()
    assert rates == {}
    assert (folder / "model.safetensors").is_file()


def test_the_folder_of_a_merge_that_fails_is_removed(open_session, work):
    session = open_session(*SERVER)
    with pytest.raises(RuntimeError, match="no swap"), given(session, point("ties", ("lm", "math"))) as (folder, _):
        raise RuntimeError("no swap")
    assert not folder.exists()
    assert list((work / "swapped").iterdir()) == []
