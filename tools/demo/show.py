"""What a person sees of the demo: progress while it runs, and tables at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.follow import Board, Course, Stored
from demo.lines import Lines
from keda_jobs.cli.terminal import add_row, cell, console, new_table, sanitize

_BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Counts:
    """How far all pictures are."""

    published: int
    downloaded: int
    resized: int
    waiting: int
    dead: int

    @classmethod
    def of(cls, board: Board) -> Counts:
        """The counts of a board."""
        courses = board.courses
        return cls(
            published=sum(course.published_at is not None for course in courses),
            downloaded=sum(course.original is not None for course in courses),
            resized=sum(course.thumbnail is not None for course in courses),
            waiting=sum(course.waiting for course in courses),
            dead=sum(course.letter is not None for course in courses),
        )

    def __str__(self) -> str:
        return (
            f"published {self.published}, downloaded {self.downloaded}, resized {self.resized}, "
            f"waiting retries {self.waiting}, dead {self.dead}"
        )


@contextmanager
def progress(board: Board) -> Iterator[Callable[[], None]]:
    """Gives a function to call often: it keeps bars up to date on a terminal, and prints a line a second elsewhere."""
    screen = console()
    if not screen.is_terminal:
        lines = Lines()
        yield lambda: lines.show(Counts.of(board))
        lines.show(Counts.of(board), last=True)
        return
    with Live(_bars(board), console=screen, refresh_per_second=10) as live:
        yield lambda: live.update(_bars(board))
        live.update(_bars(board))


def _bars(board: Board) -> RenderableType:
    counts = Counts.of(board)
    total, good = len(board.courses), sum(course.item.good for course in board.courses)
    unreachable = sum(course.letter is not None and course.original is None for course in board.courses)
    bars = Table.grid(padding=(0, 2))
    for name, count, most, style in (
        ("published", counts.published, total, "cyan"),
        ("downloaded", counts.downloaded, total - unreachable, "cyan"),
        ("resized", counts.resized, good, "green"),
        ("waiting retries", counts.waiting, total, "yellow"),
        ("dead letters", counts.dead, total - good, "red"),
    ):
        bar = ProgressBar(max(most, 1), count, _BAR_WIDTH, complete_style=style, finished_style=style)
        bars.add_row(name, bar, cell(count))
    return bars


def pictures_table(courses: list[Course]) -> Table:
    """A row for each thumbnail."""
    columns = ("picture", "original", "bytes", "thumbnail", "bytes", "tries", "time", "key")
    made = new_table(*columns, right=("bytes", "tries", "time"), cut=("key",))
    for course in courses:
        if course.original is not None and course.thumbnail is not None:
            add_row(
                made,
                course.item.name,
                what(course.original),
                f"{course.original.bytes:,}",
                what(course.thumbnail),
                f"{course.thumbnail.bytes:,}",
                course.tries,
                f"{course.seconds:.2f} s",
                course.thumbnail.key,
            )
    return made


def letters_table(courses: list[Course]) -> Table:
    """A row for each dead letter."""
    made = new_table("picture", "job", "tries", "error", "reason", right=("tries",), cut=("reason",))
    for course in courses:
        if course.letter is not None:
            letter = course.letter
            why = Text(sanitize(reason(course)), overflow="fold")
            add_row(made, course.item.name, letter.job, letter.num_delivered, letter.error_class, why)
    return made


def reason(course: Course) -> str:
    """Why the course ended in a dead letter, without the error class."""
    return course.letter.reason.removeprefix(f"{course.letter.error_class}: ") if course.letter is not None else ""


def what(picture: Stored) -> str:
    """Size and format of a picture: `512×512 PNG`."""
    return f"{picture.size[0]}×{picture.size[1]} {picture.format}"
