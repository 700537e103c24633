# Each target does its own set-up: a machine with Python 3.11 is enough.
PYTHON ?= python3.11
VENV   := .venv
VENV4  := .venv-spark4
BIN    := $(VENV)/bin
OUT    := output/demo
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Only this user may read what Java writes.
SUBMIT = umask 077 && JAVA_HOME="$$($(BIN)/python -m readmit_spark.storage.java)" \
         PYSPARK_PYTHON="$(CURDIR)/$(BIN)/python" $(BIN)/spark-submit --properties-file conf/spark-local.conf

.PHONY: demo nights compare test test-slow test-killed test-spark4 test-cluster test-s3 emr-env lint clean

demo: $(VENV)/.installed  ## a synthetic hospital from raw notes to patient risk
	$(BIN)/python jobs/demo_data.py --config conf/demo.yaml
	$(SUBMIT) jobs/prepare.py --config conf/demo.yaml
	$(SUBMIT) jobs/finetune.py --config conf/demo.yaml
	$(SUBMIT) jobs/score.py --config conf/demo.yaml
	$(BIN)/python jobs/demo_summary.py --config conf/demo.yaml

compare: $(VENV)/.installed  ## every model on the synthetic hospital, beside the published figures; and the leak audit
	rm -rf output/compare  # the champion of an earlier run would be compared, not trained
	$(BIN)/python jobs/demo_data.py --config conf/compare.yaml
	$(SUBMIT) jobs/prepare.py --config conf/compare.yaml
	$(SUBMIT) jobs/compare.py --config conf/compare.yaml
	$(BIN)/python jobs/demo_compared.py --config conf/compare.yaml
	$(SUBMIT) jobs/audit.py --config conf/compare.yaml

nights: $(OUT)/mlflow.db  ## three nights of a full house with the demo's model, and their worklist
	$(BIN)/python jobs/demo_data.py --config conf/demo_nights.yaml
	for night in 2101-02-26 2101-02-27 2101-02-28; do \
	  $(SUBMIT) jobs/nightly.py --config conf/demo_nights.yaml --as-of $${night}T02:00:00 || exit 1; \
	done

# The demo's model, where `make demo` has not made it.
$(OUT)/mlflow.db: | $(VENV)/.installed
	$(BIN)/python jobs/demo_data.py --config conf/demo.yaml
	$(SUBMIT) jobs/prepare.py --config conf/demo.yaml
	$(SUBMIT) jobs/finetune.py --config conf/demo.yaml

.DELETE_ON_ERROR:

# Tests run in this many processes, each with a Spark of its own. A process takes whole files.
WORKERS ?= 2
PYTEST   = JAVA_HOME="$$($(1)/bin/python -m readmit_spark.storage.java)" $(1)/bin/python -m pytest
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
OTHERS  := --ignore tests/cluster --ignore tests/s3

test: $(VENV)/.tests  ## all tests but the slow ones and those of `test-cluster` and `test-s3`
	$(call PYTEST,$(VENV)) $(PARALLEL) $(OTHERS) -m "not slow"

test-slow: $(VENV)/.tests  ## the slow tests: long simulations, resumed trainings, repeated program runs
	$(call PYTEST,$(VENV)) $(PARALLEL) $(OTHERS) $(addprefix --ignore ,$(KILLED)) -m slow

# Some fifty driver processes are killed: half an hour, so not part of .ci/run.
KILLED := tests/nightly/test_nightly_killed.py tests/scoring/test_score_killed.py

test-killed: $(VENV)/.tests  ## the nightly and the score job, each killed at twenty moments
	$(call PYTEST,$(VENV)) $(KILLED)

test-spark4: $(VENV4)/.tests  ## the Spark tests on the newer Spark line
	$(call PYTEST,$(VENV4)) $(PARALLEL) $(OTHERS) -m "spark4 and not slow"

test-s3: $(VENV)/.tests build/s3/.fetched  ## the jobs on s3a://, against an S3 server on this machine
	$(call PYTEST,$(VENV)) tests/s3 -rs

# Spark's S3 connector, for tests only; without it they skip. (A cluster has its own.)
build/s3/.fetched: | $(VENV)/.installed
	mkdir -p build/s3
	$(BIN)/pip download --quiet --no-deps --no-binary :all: --dest build/s3 sagemaker_pyspark==1.4.5 \
	  && tar xzf build/s3/sagemaker_pyspark-1.4.5.tar.gz -C build/s3 --strip-components 3 --wildcards \
	    '*/hadoop-aws-3.3.1.jar' '*/aws-java-sdk-bundle-*.jar' \
	  && rm build/s3/sagemaker_pyspark-1.4.5.tar.gz && touch $@ \
	  || echo "build/s3: the S3 connector could not be had from PyPI"

test-cluster: $(VENV)/.tests  ## a Spark cluster here, its GPUs faked: shapes, shipping, faults
	$(call PYTEST,$(VENV)) tests/cluster

emr-env: $(VENV)/.installed  ## the Python environment of EMR's nodes, dist/readmit-env-SHA256.tar.gz
	PYTHON=$(CURDIR)/$(BIN)/python ./emr_env.sh dist $(PIP_OPTIONS)

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every file is checked by its hash, also of what builds packages without a wheel. torch is fetched first
# and checked then: where PyPI and another index have different files of one version, pip would prefer
# PyPI's of gigabytes. An installed torch of this version stays. PyPI's needs libraries of its own.
LOCKED  := $(filter-out requirements/test.txt,$(wildcard requirements/*.txt))
TORCH   := $(shell grep -o '^torch==[^ ]*' requirements/torch.txt)
NO_TORCH   = import importlib.metadata as m, sys; \
             sys.exit("$(TORCH)" in ["torch==" + d.version.split("+")[0] for d in m.distributions(name="torch")])
NEEDS_CUDA = import importlib.metadata as m, sys; sys.exit("nvidia" not in str(m.requires("torch")))
CHECKED    = --quiet --no-deps --require-hashes
define INSTALL
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "installing into $(1): one to two gigabytes (more with CUDA), some minutes"
	$(PYTHON) -m venv $(1)
	$(1)/bin/pip install $(CHECKED) -r requirements/build.txt
	if $(1)/bin/python -c '$(NO_TORCH)'; then \
	  $(1)/bin/pip download --quiet --no-deps --dest $(1)/torch $(TORCH) \
	  && $(1)/bin/pip install $(CHECKED) --no-index --find-links $(1)/torch -r requirements/torch.txt \
	  && rm -r $(1)/torch; fi
	if $(1)/bin/python -c '$(NEEDS_CUDA)'; then \
	  $(1)/bin/pip install $(CHECKED) -r requirements/cuda.txt; fi
	$(1)/bin/pip install $(CHECKED) --no-build-isolation \
	  $(foreach part,run $(2) demo,-r requirements/$(part).txt)
	$(1)/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $(1)/.installed
endef

$(VENV)/.installed: setup.py $(LOCKED)
	$(call INSTALL,$(VENV),spark)

$(VENV4)/.installed: setup.py $(LOCKED)
	$(call INSTALL,$(VENV4),spark4)

# What only tests and checks need is added for them: it has no place where patients' data are read.
%/.tests: %/.installed requirements/test.txt
	$*/bin/pip install $(CHECKED) --no-build-isolation -r requirements/test.txt
	touch $@

clean:
	rm -rf output build dist *.egg-info
