# SPDX-License-Identifier: Apache-2.0
"""What a release has to pass. `nox` alone does all of it, with each Python that this machine has;
`make dist` does it with one Python."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
CHECKOUT = Path(__file__).parent
DIST = CHECKOUT / "dist"

nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False


def packed(pattern: str, folder: Path = DIST) -> Path:
    """The one file in `folder` that `pattern` fits."""
    (file,) = folder.glob(pattern)
    return file


@contextlib.contextmanager
def unpacked(session: nox.Session) -> Iterator[Path]:
    """Yield a folder outside of the checkout with the files of the sdist, as the working directory.

    Its path has a space and a letter outside of ASCII, as a user's may have.
    """
    session.env["PYTHONPATH"] = None
    with tempfile.TemporaryDirectory(prefix="west viömmu ") as folder:
        session.run("tar", "-xzf", str(packed("*.tar.gz")), "-C", folder, external=True)
        source = packed("west_viommu-*", Path(folder))
        with session.chdir(source):
            yield source


def tracked(session: nox.Session) -> set[Path]:
    """What git tracks, with the files of a folder in place of a link to it."""
    listed = session.run("git", "ls-files", "-z", external=True, silent=True)
    paths = [Path(name) for name in str(listed).split("\0") if name]
    return {
        file
        for path in paths
        for file in ([path / each.name for each in path.iterdir()] if path.is_dir() else [path])
    }


@nox.session
def dist(session: nox.Session) -> None:
    """An sdist of all that git tracks and nothing else, and a wheel made of it, into dist/; the
    same bytes again wherever and whenever they are made."""
    session.install("build", *PROJECT["build-system"]["requires"])
    build = ("python", "-m", "build", "--no-isolation", "--outdir")
    shutil.rmtree(DIST, ignore_errors=True)
    session.run(*build, str(DIST))

    with tarfile.open(packed("*.tar.gz")) as sdist:
        names = {Path(*Path(name).parts[1:]) for name in sdist.getnames()}
    if wrong := names ^ tracked(session) ^ {Path("PKG-INFO")}:
        session.error(f"in the sdist or known to git, but not both: {sorted(map(str, wrong))}")

    again = Path(session.create_tmp()).resolve()
    shutil.rmtree(again)
    clone = again / "elsewhere"
    session.run("git", "checkout-index", "--all", f"--prefix={clone}/", external=True)
    session.chdir(clone)
    session.run(*build, str(again))
    for pattern in ("*.tar.gz", "*.whl"):
        if packed(pattern).read_bytes() != packed(pattern, again).read_bytes():
            session.error(f"another {pattern} when made of what git has staged, see {again}")


@nox.session
def demo(session: nox.Session) -> None:
    """The wheel, in an environment with nothing else, does the main job."""
    session.install(str(packed("*.whl")))
    with unpacked(session) as source, session.chdir("samples/demo"):
        session.run("viommu", "--version")
        session.run("viommu", "list", "--host", "host.dts")
        session.run("viommu", "bind", "--host", "host.dts", "guest.overlay")
        golden = source / "tests" / "golden" / "demo.overlay"
        if Path("viommu/viommu.overlay").read_bytes() != golden.read_bytes():
            session.error("viommu.overlay is not that of tests/golden")
        session.run("viommu", "completion", "bash", silent=True)
    if not Path(session.virtualenv.location, "share/man/man1/viommu.1").is_file():
        session.error("the man page is not installed")


@nox.session(python=nox.project.python_versions(PROJECT))
def tests(session: nox.Session) -> None:
    """The tests of the sdist, on what the wheel installs: there is no other west_viommu."""
    session.install(f"{packed('*.whl')}[test]")
    with unpacked(session) as source:
        shutil.rmtree(source / "west_viommu")
        session.run("python", "-c", "import west_viommu; print(west_viommu.__file__)")
        session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)
