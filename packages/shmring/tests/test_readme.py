"""What the README shows, runs."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_readme_example_runs(capsys):
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for example in examples:
        exec(compile(example, str(README), "exec"), {})
    assert capsys.readouterr().out == "6\n"
