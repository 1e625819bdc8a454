"""What the command says while it works: a live line on a terminal, plain lines where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.terminal import Terminal, occasionally


class Say:
    """Speaks to the user: on the console given, which decides whether there is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Terminal(highlight=False, soft_wrap=True)

    def line(self, text: str, style: str | None = None) -> None:
        """Say one line at once, also into a pipe."""
        self.console.print(text, style=style, markup=False)
        self.console.file.flush()

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Give a function that takes how much is done."""
        if not self.console.is_terminal:
            yield occasionally(lambda done: self.line(f"  {done:,} of {total:,} {what}"))
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something goes on: a spinner on a terminal, one line elsewhere."""
        if self.console.is_terminal:
            with self.console.status(text):
                yield
        else:
            self.line(text)
            yield
