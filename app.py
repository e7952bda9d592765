"""Reasoning Studio. `python app.py` opens the app; `python app.py --help` lists what can be set."""

import os
import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> int:
    """Start the app; the exit code is 0, or 2 after one sentence that says what to change."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        this = ".".join(str(part) for part in sys.version_info[:2])
        sys.stderr.write("Reasoning Studio needs Python 3.11, 3.12 or 3.13, and this is " + this + ": make the virtual "
                         "environment with one of those.\n")
        return 2
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401  the first package that a bare Python lacks

        from reasoning_ui.launch import main as launch
    except ModuleNotFoundError as error:
        sys.stderr.write("Reasoning Studio: the package " + str(error.name) + " is not installed. Run "
                         "`pip install -r requirements.txt` in the virtual environment, then start again.\n")
        return 2
    return launch()


if __name__ == "__main__":
    sys.exit(main())
