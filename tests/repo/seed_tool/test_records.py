"""Rows of a data set: reproducible, believable, and invalid where intended."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter

import pytest

from keda_jobs.batch import BatchContext
from keda_jobs.runtime.cpu import CpuPool
from users_batch.address import normal_address
from users_batch.errors import InvalidUser
from users_batch.handler import User, normalize
from users_batch.name import normal_name
from users_batch.settings import Settings
from users_seed import records
from users_seed.data_set import CHUNK_ROWS, Chunk, DataSet

CONTEXT = BatchContext(Settings.model_validate({"pg_dsn": "postgresql://nobody@nowhere/nothing"}), CpuPool(), None)


def text_of(data_set: DataSet, chunk: Chunk) -> str:
    return b"".join(records.blocks(data_set, chunk)).decode()


async def invalid_field(name: str, email: str) -> str | None:
    """Return the field that the handler rejects."""
    try:
        await normalize(User(name or None, email or None), CONTEXT)
    except InvalidUser as error:
        return str(error).partition(":")[0]
    return None


def test_the_bytes_are_those_of_the_first_release() -> None:
    data_set = DataSet(rows=25_000, seed=7, invalid_share=0.01)
    digest = hashlib.sha256(text_of(data_set, data_set.chunks()[0]).encode())
    assert digest.hexdigest() == "7cf1d7d64772ff1702b3a3e5b596af77c0984c0798503892500a081b62ac6fc2"


def test_seed_share_and_chunk_change_the_rows() -> None:
    data_sets = [DataSet(200, chunk_rows=100), DataSet(200, seed=2, chunk_rows=100), DataSet(200, 1, 0.5, 100)]
    texts = {text_of(data_set, chunk) for data_set in data_sets for chunk in data_set.chunks()}
    assert len(texts) == 6


def test_a_chunk_does_not_depend_on_the_number_of_rows() -> None:
    few, many = DataSet(300, chunk_rows=100), DataSet(900, chunk_rows=100)
    assert text_of(few, few.chunks()[1]) == text_of(many, many.chunks()[1])


def test_ids_count_from_one_without_gaps() -> None:
    data_set = DataSet(rows=25_001, chunk_rows=12_000)
    rows = [row for chunk in data_set.chunks() for row in csv.DictReader(text_of(data_set, chunk).splitlines())]
    assert [int(row["id"]) for row in rows] == list(range(1, 25_002))


@pytest.mark.parametrize(("share", "invalid"), [(0.0, 0), (0.01, 70), (0.07, 490), (0.5, 3_500), (1.0, 7_000)])
async def test_the_handler_rejects_exactly_the_invalid_rows_and_names_their_field(share: float, invalid: int) -> None:
    data_set = DataSet(rows=21_000, seed=3, invalid_share=share, chunk_rows=7_000)
    failures: dict[int, str] = {}
    expected: dict[int, str] = {}
    for chunk in data_set.chunks():
        damages = records.damaged(data_set, chunk)
        expected |= {id_: damage.field for id_, damage in damages.items()}
        assert len(damages) == chunk.invalid == invalid
        for id_, name, email in list(csv.reader(text_of(data_set, chunk).splitlines()))[1:]:
            if field := await invalid_field(name, email):
                failures[int(id_)] = field
    assert failures == expected
    assert len(failures) == data_set.invalid == 3 * invalid


async def test_each_damage_makes_only_its_field_invalid() -> None:
    for damage in records.DAMAGES:
        name, email = "Anna Müller", "anna.mueller@gmx.de"
        damaged = (damage.spoil(name), email) if damage.field == "name" else (name, damage.spoil(email))
        assert await invalid_field(*(text.strip('"') for text in damaged)) == damage.field, damaged


@pytest.mark.parametrize(
    ("rows", "share", "invalid"), [(100, 0.07, 7), (1_000, 0.001, 1), (999, 0.001, 0), (3, 0.5, 1)]
)
def test_the_number_of_invalid_rows_is_the_share_rounded_down(rows: int, share: float, invalid: int) -> None:
    data_set = DataSet(rows, invalid_share=share, chunk_rows=10)
    assert data_set.invalid == sum(chunk.invalid for chunk in data_set.chunks()) == invalid


def test_people_come_from_many_countries_and_type_carelessly() -> None:
    data_set = DataSet(rows=20_000, invalid_share=0)
    rows = list(csv.DictReader(text_of(data_set, data_set.chunks()[0]).splitlines()))
    countries = Counter(normal_address(row["email"])[2] for row in rows)
    assert set(countries) >= {None, "BR", "DE", "ES", "FR", "GB", "IN", "JP", "NL", "PL", "TR"}
    assert countries[None] < 0.6 * len(rows)
    assert len({normal_name(row["name"]) for row in rows}) > 0.4 * len(rows)
    assert len({normal_address(row["email"]) for row in rows}) > 0.9 * len(rows)
    for typed in (str.isupper, str.islower, lambda text: text != text.strip()):
        assert any(typed(row["name"]) for row in rows)
    assert any(row["email"] != row["email"].strip() for row in rows)
    assert any(row["email"] != row["email"].lower() for row in rows)


def test_chunks_end_where_the_ranges_of_the_queue_do() -> None:
    assert CHUNK_ROWS % 20_000 == 0
