"""Starts the page on this machine alone; options of ``marimo run`` follow, such as --headless."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PAGE = Path(__file__).with_name("page.py")

if __name__ == "__main__":
    if find_spec("marimo") is None:
        sys.exit("The explorer needs marimo: pip install 'topdown-odes[explore]'")
    start = [sys.executable, "-m", "marimo", "run", *sys.argv[1:], "--host", "127.0.0.1", str(PAGE)]
    os.execve(sys.executable, start, os.environ | {"MARIMO_SKIP_UPDATE_CHECK": "1"})
