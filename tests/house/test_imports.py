"""Who may import whom: DESIGN's table, read from the source."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "penstock"
IO = {"asyncio", "socket", "ssl", "time", "random", "logging", "os", "threading", "subprocess"}
DRIVERS = {"sqlite3", "psycopg", "psycopg_pool", "valkey", "redis"}

# part -> the parts of ours it may import; None means everything.
MAY_IMPORT: dict[str, set[str] | None] = {
    "model": set(),
    "examples": set(),
    "attempts": {"model"},
    "sending": set(),
    "people": set(),
    "config": {"model", "sections"},
    "sections": {"model", "sending"},
    "protocols": {"model", "attempts"},
    "judge": {"model", "sending", "examples", "attempts"},
    "lists": {"model", "sending", "protocols"},
    "store": {"model", "sending", "examples", "people"},
    "steering": {"model", "judge", "absorbing", "store.ports"},
    "breaking": {"model", "judge", "store.ports"},
    "logging_in": {"model", "attempts", "judge", "breaking", "store.ports"},
    "absorbing": {"model", "attempts", "judge", "logging_in", "store.ports"},
    "judging": {"model", "sending", "judge", "steering", "store.ports"},
    "pipeline": {"model", "attempts", "judge", "judging", "absorbing", "logging_in", "steering", "store.ports"},
    "desk": {
        "model",
        "sending",
        "examples",
        "judge.limits",
        "judge.review",
        "judge.way_back",
        "steering",
        "learning",
        "store.ports",
        "workers.held",
    },
    "overview": {"model", "sending", "judge", "store.ports", "workers.warming"},
    "pool_past": {"model", "sending", "judge", "store.ports", "workers.warming"},
    "console": {
        "model",
        "sending",
        "people",
        "examples",
        "learning",
        "desk",
        "overview",
        "pool_past",
        "config",
        "sections",
        "judge",
        "store.ports",
        "clients.openid",
        "protocols.openid",
        "listeners.sockets",
        "lists",
        "workers.held",
        "workers.monitoring",
    },
    "learning": {"model", "examples", "judge", "store.ports"},
    "listeners": {"model", "attempts", "protocols", "pipeline", "config", "clients", "watch"},
    "notices": {"model"},
    "clients": {"model", "sending", "attempts", "protocols", "lists", "config", "sections", "watch"},
    "workers": {
        "people",
        "model",
        "sending",
        "attempts",
        "protocols",
        "lists",
        "pipeline",
        "config",
        "store.ports",
        "clients",
        "judge.pools",
        "judge.cases",
        "judge.warmup",
        "judge.ladder",
        "judge.review",
        "judge.way_back",
        "notices",
        "judge.shutting",
        "watch",
    },
    "evaluation": {"model", "examples", "judge", "pipeline", "store", "protocols", "config"},
    "watch": {"model", "attempts"},
    "shipped": {"judge", "protocols", "config"},
    "building": {"model", "sending", "config", "sections", "judge", "clients", "listeners", "shipped", "store"},
    "service": None,
    "supervisor": set(),
    "cli": None,
}
MUST_NOT: dict[str, set[str]] = {
    "model": IO | DRIVERS,
    "protocols": IO | DRIVERS,
    "lists": IO | DRIVERS,
    "judge": IO | DRIVERS,
    "judging": DRIVERS,
    "pipeline": DRIVERS,
    "steering": DRIVERS,
    "breaking": DRIVERS,
    "absorbing": DRIVERS,
    "logging_in": DRIVERS,
    "desk": DRIVERS,
    "learning": DRIVERS,
    "overview": DRIVERS,
    "pool_past": DRIVERS,
    "console": DRIVERS,
    "listeners": DRIVERS,
    "workers": DRIVERS,
}


def part_of(module: str) -> str:
    return module.split(".")[0]


def imports(path: Path) -> set[str]:
    """Every module that a file imports; ours relative to `penstock` with a leading dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module or ""]
            if node.module == "penstock" or (node.module or "").startswith("penstock."):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == "penstock" or name.startswith("penstock."):
                found.add("." + name.removeprefix("penstock").removeprefix("."))
            else:
                found.add(name.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_each_file_imports_only_what_its_part_may(path):
    """The arrows of DESIGN.md point one way."""
    relative = path.relative_to(SRC)
    part = relative.parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return
    assert part in MAY_IMPORT, f"{relative}: a new part needs a row in the table of who may import whom"
    allowed = MAY_IMPORT[part]
    for name in imports(path):
        if name.startswith("."):
            ours = name[1:]
            target = part_of(ours)
            if target in (part, "", "__version__"):
                continue
            assert target != "service" or part == "cli", f"{relative} imports the composition root"
            if allowed is not None:
                fits = any(ours == one or ours.startswith(one + ".") for one in allowed)
                assert fits, f"{relative} imports {ours}"
        else:
            assert name not in MUST_NOT.get(part, set()), f"{relative} imports {name}"


def test_no_module_has_a_name_that_says_nothing():
    """A stranger finds the right file by its name."""
    empty = {"utils", "helpers", "common", "misc", "manager", "util"}

    assert not [path for path in SRC.rglob("*.py") if path.stem in empty]


def test_no_two_test_files_share_a_name():
    """Pytest imports them by it: of two with one name the second is not run."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
