"""Reads every exported table with programs that know nothing of Ruche:

    <python with requirements.txt> check.py <path of the ruche binary>

Parquet with pyarrow, CSV with the csv module, the view of the embedded store with sqlite3. The exit code is 0 only if all three hold the
same rows, and the columns have the types that docs/sql.md tells.
"""

import csv
import json
import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TYPES = {
    "text": pa.string(),
    "id": pa.string(),
    "position": pa.string(),
    "json": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "count": pa.int64(),
    "micros": pa.int64(),
    "flag": pa.bool_(),
    "decimal": pa.decimal128(38, 27),
    "real": pa.float64(),
}
TEXTS = ("text", "id", "position", "json")
TABLES_WITH_ROWS_MIN = 10


def ruche(program: str, folder: Path, *arguments: str) -> object:
    place = ["--data-dir", str(folder / "data"), "--keys-dir", str(folder / "keys"), "--json"]
    done = subprocess.run([program, *arguments, *place], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"ruche {' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout)


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def of_text(kind: str, value: str) -> object:
    """A value of a CSV file or of a view, which both write as text."""
    if kind in TEXTS:
        return value
    if kind == "time":
        return moment(value)
    if kind == "flag":
        return {"true": True, "false": False, "1": True, "0": False}[value]
    return {"decimal": Decimal, "real": float}.get(kind, int)(value)


def of_csv(path: Path, kinds: dict[str, str]) -> list[tuple]:
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file, strict=True)
    if names != list(kinds):
        raise SystemExit(f"{path.name}: {names}")

    def cell(kind: str, value: str) -> object:
        # The module does not tell an empty cell from empty text.
        if value == "":
            return None
        return of_text(kind, value.removeprefix("'") if kind in TEXTS else value)

    return [tuple(cell(kind, value) for kind, value in zip(kinds.values(), row, strict=True)) for row in rows]


def of_parquet(path: Path, kinds: dict[str, str], told: dict) -> list[tuple]:
    table = pq.read_table(path)
    for name, kind in kinds.items():
        if table.schema.field(name).type != TYPES[kind]:
            raise SystemExit(f"{path.name}: {name} is {table.schema.field(name).type}")
    said = pq.read_metadata(path).metadata
    if said.get(b"ruche.position") != told["position"].encode() or said[b"ruche.ledger"] != told["ledger"].encode():
        raise SystemExit(f"{path.name}: {said}")
    return [tuple(row[name] for name in kinds) for row in table.to_pylist()]


def of_view(folder: Path, name: str, ledger: str, kinds: dict[str, str]) -> list[tuple]:
    with sqlite3.connect(f"file:{folder / 'data' / 'read-1.db'}?mode=ro", uri=True) as store:
        rows = store.execute(f"SELECT {', '.join(kinds)} FROM bi_{name} WHERE ledger_id = ?", [ledger]).fetchall()

    def cell(kind: str, value: object) -> object:
        return None if value is None else of_text(kind, str(value))

    return [tuple(cell(kind, value) for kind, value in zip(kinds.values(), row, strict=True)) for row in rows]


def main(program: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ruche(program, folder, "seed", "--tenant", "acme", "--sessions", "40")
        ruche(program, folder, "seed", "--tenant", "other", "--sessions", "3")
        with_rows = 0
        for table in ruche(program, folder, "table", "list"):
            columns = ruche(program, folder, "table", "list", table["table"])
            kinds = {column["column"]: column["kind"] for column in columns}
            found = {}
            for form in ("csv", "parquet"):
                path = folder / f"{table['table']}.{form}"
                export = ("table", "export", table["table"], "--tenant", "acme", "--format", form, "--out", str(path))
                told = ruche(program, folder, *export)
                found[form] = of_csv(path, kinds) if form == "csv" else of_parquet(path, kinds, told)
                if len(found[form]) != told["rows"]:
                    raise SystemExit(f"{path.name}: {len(found[form])} rows of {told['rows']}")
            view = of_view(folder, table["table"], told["ledger"], kinds)
            found["parquet"], view = ([tuple(x if x != "" else None for x in row) for row in rows] for rows in (found["parquet"], view))
            if found["csv"] != found["parquet"] or sorted(map(repr, view)) != sorted(map(repr, found["csv"])):
                raise SystemExit(f"{table['table']}: the forms do not hold the same rows")
            with_rows += bool(view)
            print(f"{table['table']}: {len(view)} rows")
        if with_rows < TABLES_WITH_ROWS_MIN:
            raise SystemExit(f"only {with_rows} tables have rows")


if __name__ == "__main__":
    main(sys.argv[1])
