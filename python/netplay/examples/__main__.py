"""Lists the examples: `python -m netplay.examples`. It reads their first lines and imports none of them."""

import ast
from pathlib import Path


def main() -> None:
    """Prints the name and the first line of every example."""
    print("Run one with python -m netplay.examples.NAME:\n")
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"  {path.stem:8} {doc.splitlines()[0] if doc else ''}")
    print("\nThe first lines of each file say what it shows, its keys, and what to try.")


if __name__ == "__main__":
    main()
