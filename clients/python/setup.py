"""Generates the stubs of proto/ while the package is built, into the package `recsys.v1`."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent


def source(name, in_repository):
    """A file or folder: in a source distribution beside this file, else in the repository."""
    packed = HERE / name
    return packed if packed.exists() else HERE / in_repository


PROTO = source("proto", "../../proto")
SERVICE_CONFIG = source("service_config.json", "../service_config.json")


class Build(build_py):
    """Builds the modules, and the stubs."""

    def run(self):
        import grpc_tools
        from grpc_tools import protoc

        super().run()
        out = self.build_lib
        files = sorted(str(path) for path in (PROTO / "recsys/v1").glob("*.proto"))
        bundled = pathlib.Path(grpc_tools.__file__).with_name("_proto")
        arguments = ["protoc", f"-I{PROTO}", f"-I{bundled}", f"--python_out={out}", f"--pyi_out={out}",
                     f"--grpc_python_out={out}", *files]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")
        shutil.copy(SERVICE_CONFIG, pathlib.Path(out) / "recsys_client")


class SourceDistribution(sdist):
    """Packs what Build reads, too."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        base = pathlib.Path(base_dir)
        shutil.copytree(PROTO / "recsys", base / "proto/recsys")
        shutil.copy(SERVICE_CONFIG, base)


setup(cmdclass={"build_py": Build, "sdist": SourceDistribution})
