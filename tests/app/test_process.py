"""The app as a process: it answers, never imports torch, and offers no endpoint by accident."""

import json
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from pipeline.studio_home import StudioHome
from reasoning_ui.page import build

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "trl", "peft", "vllm", "unsloth", "accelerate")

SESSION = """
import json, sys
from pathlib import Path
from pipeline.studio_home import StudioHome
from pipeline.recipe import DataStep, ModelStep, Recipe
home = StudioHome(Path(sys.argv[1]))
from reasoning_ui.page import build
build(home)
from reasoning_ui.header import _updates
from reasoning_ui.shared import choices_of
from reasoning_ui.train_tab import _review
from reasoning_ui.training_form import from_store
from types import SimpleNamespace
model, data, rewards, training = choices_of(Recipe())
_updates(home, "", model, data, rewards, "")
goal, shown = from_store(model, training)
_review(SimpleNamespace(home=home), data, rewards, goal, *shown)
from pipeline.dataset.chat import ChatTokenizer, tokenise
chat = ChatTokenizer.load("tiny")
tokenise(chat, {"system": "", "question": "1 + 1?", "completion": "<answer>2</answer>"})
from pipeline.rewards.reward_set import RewardSet
from pipeline.tags import SCHEMES
with RewardSet(Recipe().rewards, SCHEMES["reasoning"]) as rewards_set:
    rewards_set.score(["<answer>1/2</answer>"], ["0.5"], ["?"])
print(json.dumps([name for name in %r if name in sys.modules]))
"""


def test_building_the_page_previewing_scoring_and_reviewing_never_imports_torch(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", SESSION % (HEAVY,), str(tmp_path)], cwd=PROJECT, text=True,
                            capture_output=True, timeout=120)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout.splitlines()[-1]) == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    """The whole page, not served."""
    return build(StudioHome(tmp_path_factory.mktemp("home")))


def test_only_the_named_endpoints_are_public(demo: gr.Blocks) -> None:
    """What `gradio_client` lists. Handlers are private unless somebody decided otherwise, and wrote it here."""
    public = set(demo.get_api_info()["named_endpoints"])
    assert public == set()
    assert demo.get_api_info()["unnamed_endpoints"] == {}


def test_no_component_opens_a_connection_per_browser_tab(demo: gr.Blocks) -> None:
    """A `gr.State` holds a connection open for each tab: the sixth one would never load."""
    assert not [block for block in demo.blocks.values() if type(block) is gr.State]


def test_every_tab_of_the_contract_is_there_in_order(demo: gr.Blocks) -> None:
    tabs = [block.label for block in demo.blocks.values() if isinstance(block, gr.Tab) and block.id in (
        "start", "data", "rewards", "train", "live", "compare", "export", "runs")]
    assert tabs == ["Start", "Data", "Rewards", "Train", "Live", "Compare", "Export", "Runs"]
