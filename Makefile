# Everything sets itself up: a virtual environment in .venv, with the locked versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SPARK := $(VENV)/.spark
FLINK := $(VENV)/flink
SLOW ?= slow or hypothesis
DEMO := $(if $(DATA),--data $(DATA)) $(if $(DEVICES),--devices $(DEVICES)) $(if $(EPSILON),--epsilon $(EPSILON)) $(ARGS)

# A command begins in a fraction of the time where Python keeps what it compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow bench bench-signals bench-last-item bench-live bench-live-engines \
	bench-live-store bench-private engines-page lint lock clean

demo: $(READY)          ## the whole of it on a synthetic population, or on DATA=events.parquet
	$(BIN)/tacit demo $(DEMO)

test: $(READY)          ## the default tests, under five minutes
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal $(ARGS)

test-slow: $(SPARK) $(FLINK)/.ready ## the slow ones, all examples of every law; Spark and Flink want Java 17
	TACIT_EXAMPLES=all $(BIN)/python -m pytest -m "$(SLOW)" -n 2 --dist loadfile $(ARGS)

lint: $(READY)          ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)         ## the figures of the spine
	$(BIN)/python benchmarks/spine.py

bench-signals: $(READY) ## signals beside DuckDB, Polars, Spark and Feast; an hour, 20 GB of memory
	$(BIN)/python benchmarks/signals/run.py $(ARGS)

bench-last-item: $(READY) ## the latest-value join beside Feast, on what Feast finishes
	$(BIN)/python benchmarks/signals/last_item.py $(ARGS)

bench-private: $(READY) ## Prio3, local, central and DAP; beside the npm client and OpenDP
	$(BIN)/python benchmarks/private/run.py $(ARGS)

engines-page: $(READY)  ## what each engine supports, from what it declares
	$(BIN)/python -m tacit.engines.table > docs/engines.md

bench-live: $(READY)    ## serving beside raw ASGI, Feast and Redis; half an hour; --quick is a tenth
	$(BIN)/python benchmarks/live/run.py $(ARGS)

bench-live-engines: $(SPARK) $(FLINK)/.ready ## streams by push, by Spark and by Flink
	$(BIN)/python benchmarks/live/engines.py $(ARGS)

bench-live-store: $(READY) ## the online store by itself: ingestion, reads, growth
	$(BIN)/python benchmarks/live/store.py $(ARGS)

lock: $(READY)          ## choose new versions, with hashes and without download addresses
	$(BIN)/pip install --quiet "uv>=0.6"
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
		--output-file requirements.lock

clean:
	rm -rf $(VENV) out build dist

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(SPARK): $(READY) pyproject.toml
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[spark]"
	@touch $@

$(FLINK)/.ready: $(READY)
	$(PYTHON) -m venv $(FLINK)
	$(FLINK)/bin/python -m pip install --quiet "apache-flink>=2.3,<2.4"
	@touch $@
