"""Lists the registered models: every version with its aliases and scores.

In: a home, a model or none for all. Out: a table and an address a version.
"""

from rich.console import Console

from components.core.logs import new_table
from components.registry import names
from components.registry.versions import Registry
from workflows.home import Home


def list_models(home: Home, model: str | None, console: Console) -> None:
    """Print every version with aliases and scores."""
    registry = Registry(home.tracking_uri)
    found = [model] if model else registry.models()
    if not found:
        console.print("No model is registered yet; run a recipe first: lavaflow run tiny")
        return
    for name in found:
        versions = registry.versions(name)
        table = new_table(name)
        for column in ("version", "aliases", "scores, 0 to 100"):
            table.add_column(column)
        for version in versions:
            # One cell that wraps: thirteen columns of numbers do not fit 80 characters.
            scores = "  ".join(f"{row.benchmark}={row.percent:.1f}" for row in version.scores)
            table.add_row(str(version.version), ", ".join(version.aliases), scores)
        console.print(table)
        for version in versions:
            recipe = version.tags.get(names.RECIPE, "unknown recipe")
            # A line of its own: an address cut into a column's width cannot be copied.
            console.print(
                f"  {version.version}  {recipe}  {version.uri}", highlight=False, soft_wrap=True
            )
