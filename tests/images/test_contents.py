"""Contents of the images: small, read-only, labelled, with nothing from the machine that built them."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from tarfile import TarInfo

import pytest
from docker.models.images import Image

from stack.jobs import package_name

from .containers import OPS

FilesOf = Callable[[Image], Mapping[str, TarInfo]]

LARGEST_OVER_BASE = 150_000_000
LARGEST_OPS = 250_000_000  # kubectl and the libraries of all jobs
OURS = ("/app", "/venv")
TOOLS = re.compile(r".*/(pip[0-9.]*|setuptools|wheel|uv|gcc|g\+\+|cc|make|git|curl|wget)$")
FOR_DEVELOPMENT = re.compile(r"/app/.*(/tests?/|/test_|conftest).*")
SECRET = re.compile(r".*/(\.env|\.netrc|\.git|pip\.conf|id_[a-z0-9]+|[^/]*\.key|kubeconfig)$")


def added(image: Image, base: Image, files_of: FilesOf) -> dict[str, TarInfo]:
    """Return the files and folders of `image` that `base` does not have."""
    before = files_of(base)
    return {path: file for path, file in files_of(image).items() if path not in before}


def test_it_is_small(image: Image, base: Image, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    size, over = image.attrs["Size"], image.attrs["Size"] - base.attrs["Size"]
    with capsys.disabled():
        print(f"\n{name}: {size / 1e6:.0f} MB, {over / 1e6:.0f} MB over its base")
    assert over < (LARGEST_OPS if name == OPS else LARGEST_OVER_BASE)


def test_it_is_built_on_the_base(image: Image, base: Image) -> None:
    layers = base.attrs["RootFS"]["Layers"]
    assert image.attrs["RootFS"]["Layers"][: len(layers)] == layers


def test_no_layer_is_empty(image: Image) -> None:
    # Docker's old builder cannot copy anything after an empty layer (moby#37965).
    copied = {step["CreatedBy"]: step["Size"] for step in image.history() if "COPY " in step["CreatedBy"]}
    assert len(copied) >= 2
    assert [step for step, size in copied.items() if not size] == []


def test_added_files_are_read_only_and_give_no_rights(image: Image, base: Image, files_of: FilesOf) -> None:
    excessive = stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH
    files = {path: file for path, file in added(image, base, files_of).items() if not file.issym()}
    assert [path for path, file in files.items() if file.mode & excessive] == []
    assert [path for path, file in files.items() if (file.uid, file.gid) != (0, 0)] == []
    assert [path for path, file in files.items() if not file.mode & stat.S_IROTH] == []


def test_folders_of_the_base_are_unchanged(image: Image, base: Image, files_of: FilesOf) -> None:
    before, after = files_of(base), files_of(image)
    assert [path for path in before if path not in after] == []
    changed = [path for path, file in before.items() if (file.mode, file.uid) != (after[path].mode, after[path].uid)]
    assert changed == []


def test_only_the_job_and_its_packages_are_added(image: Image, base: Image, files_of: FilesOf) -> None:
    paths = [path for path in added(image, base, files_of) if not path.endswith(".pyc")]
    assert [path for path in paths if not path.startswith(OURS) and "/__pycache__" not in path] == []
    assert [path for path in paths if TOOLS.fullmatch(path)] == []
    assert [path for path in paths if FOR_DEVELOPMENT.fullmatch(path)] == []
    assert [path for path in paths if SECRET.fullmatch(path)] == []


def test_no_other_job_is_in_it(job: str, image_of_job: Image, base: Image, files_of: FilesOf) -> None:
    packages = {path.split("/")[2] for path in added(image_of_job, base, files_of) if path.startswith("/app/")}
    assert packages == {"keda_jobs", package_name(job)}


def test_everything_is_compiled(image: Image, base: Image, files_of: FilesOf) -> None:
    files = files_of(image)
    sources = [path for path in added(image, base, files_of) if path.startswith("/app/") and path.endswith(".py")]
    compiled = {re.sub(r"/__pycache__/(\w+)\.cpython-\d+\.pyc$", r"/\1.py", path) for path in files}
    assert sources
    assert [path for path in sources if path not in compiled] == []


def test_it_does_not_contain_the_package_index_of_the_builder(image: Image) -> None:
    metadata = f"{image.attrs['Config']} {image.history()}"
    assert re.findall(r"PIP_(?:INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST)[^ ]*", metadata) == []


def test_labels_identify_it(name: str, image: Image) -> None:
    labels = {label.removeprefix("org.opencontainers.image."): value for label, value in image.labels.items()}
    assert labels["title"] == name
    assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])
    assert labels["version"]
    assert re.fullmatch(r"(https?://[^@]+)?", labels["source"])
