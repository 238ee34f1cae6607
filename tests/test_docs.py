"""What the documentation names exists, and what exists is documented."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
import yaml

import narrowcast
from fakes import CLASSES as SCENE
from fakes import LookupTeacher, flat_labels, plain_frames
from narrowcast.cli import _pretrain, _run
from narrowcast.cli.app import app
from narrowcast.core.config import from_dict, read_recipe, to_dict
from narrowcast.core.runs import RunFolder
from narrowcast.models.jitnet import JITNet
from narrowcast.stream.distill import DEFAULT, THESIS, DistillConfig, Distiller
from narrowcast.stream.run import RunConfig
from narrowcast.stream.scores import SegmentationScores
from narrowcast.stream.summary import Costs, summarise

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
DOCS = "\n".join(text for page, text in TEXT.items() if page.parent.name == "docs")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(narrowcast.__path__, "narrowcast.")
    if not any(part.startswith("_") for part in module.name.split("."))
]


def commands() -> dict[tuple[str, ...], Any]:
    """Each command of the command line by its words."""
    found: dict[tuple[str, ...], Any] = {(): typer.main.get_command(app)}
    for words in (todo := [()]):
        for name, command in getattr(found[words], "commands", {}).items():
            found[*words, name] = command
            todo.append((*words, name))
    return found


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """(page name, code) for each fenced block in one of the languages."""
    for page, text in TEXT.items():
        for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if language in languages:
                yield page.name, code


def command_lines() -> list[tuple[str, str]]:
    """(page name, line) for each use of narrowcast in a shell block, continued lines joined."""
    found = []
    for page, code in blocks("sh", "bash", "console", "shell"):
        for line in code.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if line.startswith("narrowcast "):
                found.append((page, re.split(r"\s[|#>]", line)[0]))
    return found


COMMANDS = commands()
CONFIGS = [
    config
    for name in MODULES
    for _, config in inspect.getmembers(importlib.import_module(name), dataclasses.is_dataclass)
    if inspect.isclass(config) and config.__module__ == name and config.__name__.endswith(("Config", "Schedule"))
]


@pytest.mark.parametrize("words", [words for words in COMMANDS if words], ids=" ".join)
def test_every_command_is_documented_with_all_its_options(words: tuple[str, ...]) -> None:
    assert f"narrowcast {' '.join(words)}" in DOCS
    missing = {name for name in options(COMMANDS[words]) if not re.search(rf"(?<![\w-]){name}(?![\w-])", DOCS)}
    assert missing - {"--help", "-h"} == set()


@pytest.mark.parametrize("words", [words for words in COMMANDS if words], ids=" ".join)
def test_every_command_has_a_help_with_an_example(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help
    if not hasattr(command, "commands"):
        assert f"Example: narrowcast {' '.join(words)}" in inspect.cleandoc(command.help)
    assert all(parameter.help or parameter.param_type_name == "argument" for parameter in command.params)


@pytest.mark.parametrize(("page", "line"), command_lines(), ids=lambda value: value[:60])
def test_command_lines_in_the_documentation_exist(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    known = max((key for key in COMMANDS if key == tuple(words[: len(key)])), key=len)
    assert not hasattr(COMMANDS[known], "commands") or known == () or "--help" in words, f"{line}: no such command"
    used = {word.split("=")[0] for word in words if word.startswith("--")}
    allowed = set().union(*(options(COMMANDS[known[:depth]]) for depth in range(len(known) + 1)))
    assert used - allowed <= {"--help", "--version"}, line


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".") == 2])
def test_every_module_is_in_the_documentation(name: str) -> None:
    _, room, module = name.split(".")
    assert re.search(rf"`(narrowcast\.{room}\.{module}\b|{room}/{module}\.py`|narrowcast/{room}/{module}\.py`)", DOCS)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_setting_is_documented(config: type) -> None:
    missing = [field.name for field in dataclasses.fields(config) if f"`{field.name}" not in DOCS]
    assert missing == []


def settings_table(page: str, section: str) -> dict[str, list[str]]:
    """The rows of the table below the heading `[section]` of a page: the other cells by the setting's name."""
    text = TEXT[REPOSITORY / "docs" / page].split(f"### `[{section}]`\n", 1)[1].split("\n#", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    return {row[0].strip("`"): row[1:] for row in rows}


def value_of(cell: str) -> Any:
    return tomllib.loads(f"value = {cell.strip('`')}")["value"]


RECIPE = REPOSITORY / "recipes" / "stream-example.toml"
STREAM_SECTIONS = {
    "schedule": (DEFAULT.schedule, THESIS.schedule),
    "learner": (DEFAULT.learner, THESIS.learner),
    "distill": (DEFAULT, THESIS),
}


@pytest.mark.parametrize("section", STREAM_SECTIONS)
def test_the_settings_of_streams_have_the_documented_defaults(section: str) -> None:
    rows = settings_table("stream.md", section)
    names = {field.name for field in dataclasses.fields(STREAM_SECTIONS[section][0])} - STREAM_SECTIONS.keys()
    assert rows.keys() == names
    for name, cells in rows.items():
        assert [value_of(cell) for cell in cells[:2]] == [getattr(config, name) for config in STREAM_SECTIONS[section]]


@pytest.mark.parametrize("section", _pretrain.SECTIONS)
def test_the_settings_of_pretraining_have_the_documented_defaults(section: str) -> None:
    rows = settings_table("pretrain.md", section)
    config = _pretrain.SECTIONS[section]()
    assert rows.keys() == {field.name for field in dataclasses.fields(config)}
    assert {name: value_of(cells[0]) for name, cells in rows.items()} == to_dict(config)


def test_the_other_sections_of_streams_are_documented() -> None:
    assert settings_table("stream.md", "teacher").keys() == {
        field.name for field in dataclasses.fields(_run.TeacherConfig)
    }
    (name, cells), *others = settings_table("stream.md", "run").items()
    assert value_of(cells[0]) == getattr(RunConfig(source="", teacher=""), name)
    assert others == []


def test_the_example_recipe_says_what_holds_without_it() -> None:
    sections = read_recipe(RECIPE, [], known=_run.SECTIONS)
    assert tuple(sections) == _run.SECTIONS
    assert (
        from_dict(
            DistillConfig,
            sections["distill"] | {name: sections[name] for name in ("schedule", "learner")},
            where=RECIPE.name,
        )
        == DistillConfig()
        == DEFAULT
    )
    assert from_dict(_run.TeacherConfig, sections["teacher"], where=RECIPE.name) == _run.TeacherConfig()
    nothing = RunConfig(source="", teacher="")
    assert dataclasses.replace(nothing, **sections["run"]) == nothing


@pytest.mark.parametrize("section", _run.SECTIONS)
def test_the_example_recipe_has_every_setting_and_says_what_it_is(section: str) -> None:
    text = RECIPE.read_text(encoding="utf-8").split(f"[{section}]", 1)[1].split("\n[", 1)[0]
    lines = re.findall(r"^(?:# )?(\w+) = \S+ +# \S", text, re.MULTILINE)
    assert sorted(lines) == sorted(settings_table("stream.md", section))


def test_every_key_of_a_run_is_documented(tmp_path: Path) -> None:
    distiller = Distiller(
        JITNet(len(SCENE), width=0.25),
        LookupTeacher([flat_labels()]),
        DEFAULT,
        size_wh=None,
        device=torch.device("cpu"),
    )
    report = distiller.step(plain_frames(1)[0]).to_json()
    with RunFolder.open(tmp_path / "run", {"config": {}}, resume=False) as folder:
        folder.append(report)
        summary = summarise(folder, SegmentationScores(SCENE), Costs(1.0), distiller)
    page = TEXT[REPOSITORY / "docs" / "stream.md"]
    keys = {*summary, "status", "source_truncated", "source_damaged", *report, "miou", *report["timings_ms"]}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def _imports() -> list[tuple[str, str, str]]:
    """(page name, module, name) of each import of narrowcast in the documentation's Python."""
    found = []
    for page, code in blocks("python", "py"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("narrowcast"):
                found += [(page, str(node.module), alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize(("page", "module", "name"), _imports(), ids=str)
def test_what_the_documentation_imports_exists(page: str, module: str, name: str) -> None:
    loaded = importlib.import_module(module)
    assert hasattr(loaded, name) or importlib.util.find_spec(f"{module}.{name}")


def test_what_the_documentation_tells_to_make_can_be_made() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    told = set(
        itertools.chain.from_iterable(re.findall(r"(?:^|`)make ([a-z-]+)", t, re.MULTILINE) for t in TEXT.values())
    )
    assert {"demo", "test", "check"} <= told <= targets


def test_the_first_commands_of_the_readme_are_demo_and_test() -> None:
    first = next(code for page, code in blocks("sh", "bash") if page == "README.md")
    assert [line.split("#")[0].strip() for line in first.splitlines()[:2]] == ["make demo", "make test"]


def test_the_readme_is_short() -> None:
    assert len(TEXT[REPOSITORY / "README.md"].splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", TEXT[page])
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_navigation_lists_every_page_once() -> None:
    nav = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = [name for entry in nav for name in entry.values()]
    assert sorted(listed) == sorted(page.name for page in (REPOSITORY / "docs").glob("*.md"))


def test_the_pages_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    """The documentation is read offline, too."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    pages = list(tmp_path.rglob("*.html"))
    assert pages
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]*)\"", page.read_text(encoding="utf-8")
        )
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []
