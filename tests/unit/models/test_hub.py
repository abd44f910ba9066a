from __future__ import annotations

import pytest
from huggingface_hub import constants
from tiny import make_model

import tsdtp
from tsdtp.models import hub
from tsdtp.models.loading import load_config, load_model, load_tokenizer


@pytest.fixture
def session(monkeypatch):
    """The hub's HTTP session, which notes the requests and fails where `works` is not set."""

    class Session:
        works, requests = False, []

        def head(self, url, **arguments):
            self.requests.append((url, arguments["timeout"]))
            if not self.works:
                raise ConnectionError("Name or service not known")

    session = Session()
    session.requests = []
    monkeypatch.setattr(hub, "get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return session


def test_an_unreachable_hub_is_asked_once_and_left_alone(session, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for load in (lambda: load_config("org/name", None, 2), lambda: load_tokenizer("org/name")):
        with pytest.raises(ValueError, match="org/name, which cannot be reached") as error:
            load()
        assert "\n" not in str(error.value)
    assert len(session.requests) == 1 and session.requests[0][1] <= 10
    assert constants.HF_HUB_OFFLINE, "its clients would retry for half a minute"


def test_a_hub_that_answers_stays(session):
    session.works = True
    assert hub.reach_hub() and hub.reach_hub()
    assert not constants.HF_HUB_OFFLINE and len(session.requests) == 1


def test_offline_by_choice_asks_nobody(session, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.reach_hub()
    assert session.requests == []


def test_a_folder_needs_no_hub(session, tmp_path):
    make_model("bert").save_pretrained(tmp_path / "name")
    config = load_config("org/name", None, 2, str(tmp_path))
    load_model("org/name", config, str(tmp_path))
    assert session.requests == []
    weights = tmp_path / "name" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ValueError, match=f"cannot load a pretrained model from {tmp_path}/name"):
        load_model("org/name", config, str(tmp_path))
    assert session.requests == []


def test_the_library_leaves_the_hub_as_it_is_and_asks_again(session, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for load in (tsdtp.from_pretrained, tsdtp.tokenizer_of):
        with pytest.raises(ValueError, match="me/mine: .* cannot be reached, and none is cached"):
            load("me/mine")
    assert len(session.requests) == 2 and not constants.HF_HUB_OFFLINE
