"""Functions whose docstring begins with an article, a pronoun or a question word, which ruff's D401 lets pass.

Usage: tools/docstrings.py FILE…
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_NO_VERB = re.compile(r"(All|An?|Each|Every|How|None|One|Such|The|Those|What|When|Where|Whether|Which|Who|Whose|Why)\b")
_NO_NOUN = re.compile(r"(An?|How|The|What|Whether)\b")
_PLACEHOLDER = re.compile(r"<(\w+)>")  # of a template


def _is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith("property") for decorator in function.decorator_list)


def not_imperative(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring that begins with an article, a pronoun or a question word."""
    for node in ast.walk(ast.parse(_PLACEHOLDER.sub(r"\1", source))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or ""
            if (_NO_NOUN if _is_property(node) else _NO_VERB).match(docstring):
                yield node.body[0].lineno, docstring.partition("\n")[0]


def main() -> int:
    """Print the places in the files given as arguments, and return 1 if there are any."""
    places = [
        f"{file}:{line}: docstring without a verb: {text}"
        for file in sys.argv[1:]
        for line, text in not_imperative(Path(file).read_text())
    ]
    print(*places, sep="\n", end="\n" if places else "")
    return 1 if places else 0


if __name__ == "__main__":
    raise SystemExit(main())
