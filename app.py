"""Reasoning Studio. `python app.py` opens the app; `python app.py --help` lists what can be set."""

import os
import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("Reasoning Studio needs Python 3.11, 3.12 or 3.13, and this is "
             f"{sys.version_info[0]}.{sys.version_info[1]}: make the virtual environment with one of those.")

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def main(arguments: list[str] | None = None) -> int:
    """Start the app; the exit code is 0, or 2 after a sentence that says what to change."""
    try:
        from reasoning_ui.launch import main as launch
    except ImportError as error:
        print(f"The package {error.name or error} is not installed: run `pip install -r requirements.txt` "
              "in the virtual environment and start again.", file=sys.stderr)
        return 2
    return launch(arguments)


if __name__ == "__main__":
    sys.exit(main())
