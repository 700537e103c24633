# Each target does its own set-up: a machine with Python 3.11 is enough.
PYTHON ?= python3.11
VENV   := .venv
VENV4  := .venv-spark4
SPARK4 := 4.1.1
BIN    := $(VENV)/bin
OUT    := output/demo
export PIP_DISABLE_PIP_VERSION_CHECK = 1

SUBMIT = JAVA_HOME="$$($(BIN)/python -m readmit_spark.java)" PYSPARK_PYTHON="$(CURDIR)/$(BIN)/python" \
         $(BIN)/spark-submit --properties-file conf/spark-local.conf

.PHONY: demo test test-spark4 test-cluster emr-env lint clean

demo: $(VENV)/.installed  ## a synthetic hospital from raw notes to patient risk
	$(BIN)/python jobs/demo_data.py --config conf/demo.yaml
	$(SUBMIT) jobs/prepare.py --config conf/demo.yaml
	$(SUBMIT) jobs/finetune.py --config conf/demo.yaml
	$(SUBMIT) jobs/score.py --config conf/demo.yaml
	$(BIN)/python jobs/demo_summary.py --config conf/demo.yaml

test: $(VENV)/.installed  ## all tests but those of `test-cluster`
	JAVA_HOME="$$($(BIN)/python -m readmit_spark.java)" $(BIN)/python -m pytest --ignore tests/cluster

test-spark4: $(VENV4)/.installed  ## the Spark tests on the newer Spark line
	JAVA_HOME="$$($(VENV4)/bin/python -m readmit_spark.java)" $(VENV4)/bin/python -m pytest tests/spark tests/steps

test-cluster: $(VENV)/.installed  ## a Spark cluster here, its GPUs faked: shapes, shipping, faults
	JAVA_HOME="$$($(BIN)/python -m readmit_spark.java)" $(BIN)/python -m pytest tests/cluster

emr-env: $(VENV)/.installed  ## the Python environment of EMR's nodes, dist/readmit-env.tar.gz
	PYTHON=$(CURDIR)/$(BIN)/python ./emr_env.sh dist/readmit-env.tar.gz $(PIP_OPTIONS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: setup.py requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

$(VENV4)/.installed: setup.py requirements.txt
	$(PYTHON) -m venv $(VENV4)
	sed 's/^pyspark==.*/pyspark==$(SPARK4)/; /^py4j==/d' requirements.txt > $(VENV4)/requirements.txt
	$(VENV4)/bin/pip install --quiet -r $(VENV4)/requirements.txt
	$(VENV4)/bin/pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf output build dist *.egg-info
