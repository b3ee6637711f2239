"""Makes the package installable and adds the command ``narvl``; run_scripts/setup.sh installs what it needs.

There is no ``install_requires``. fairseq has no wheel for every supported Python, and its source build imports torch,
so pip must find torch installed before it looks at fairseq: an order that a list of requirements cannot state. And
torch must be the build that fits the machine's accelerator, which pip cannot know; packages that depend on torch
(torchvision, timm) would replace a chosen one. requirements.txt holds the tested versions, setup.sh the order.
"""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    name="narvl",
    version="0.1.0",
    description="Parallel vision-language decoding with Query-CTC, as a fairseq plugin",
    license="MIT",
    packages=find_packages(include=["narvl", "narvl.*"]),
    package_data={"narvl": ["**/*.json", "**/*.yaml"]},
    python_requires=">=3.11",
    entry_points={"console_scripts": ["narvl = narvl.cli:main"]},
)
