"""The parts of the Compare tab that ask for more answers: evaluations of other models, benchmarks and precisions."""

import gradio as gr

from reasoning_ui.shared import Shared


def build_more(shared: Shared, tab: gr.Tab) -> None:
    """Evaluate more."""
