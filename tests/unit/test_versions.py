"""What pyproject.toml allows is what the two files of constraints say was tested."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tiny import REPOSITORY


def _required() -> dict[str, Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [line for lines in (project["dependencies"], *extras) for line in lines]
    found = map(Requirement, lines)
    return {canonicalize_name(r.name): r for r in found if r.name != project["name"]}


def _pinned(name: str) -> dict[str, Version]:
    lines = (REPOSITORY / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def test_the_lowest_versions_allowed_are_the_lowest_tested():
    bounds = {
        name: Version(specifier.version)
        for name, required in _required().items()
        for specifier in required.specifier
        if specifier.operator == ">="
    }
    assert bounds == _pinned("constraints-lowest.txt")


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_all_that_is_required_is_pinned_within_its_range(name):
    pinned = _pinned(name)
    for package, required in _required().items():
        assert required.specifier.contains(pinned[package]), package
