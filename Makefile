# What people type most. The work is in ci/, where CI calls the same scripts.

.PHONY: demo test lint security sanitize fuzz soak wheel bench bench-peers gate growth conformance manual setup docs clean

demo: setup
	@ci/demo

test: setup
	@ci/test

lint: setup
	@ci/lint

security: setup
	@ci/security

sanitize: setup
	@ci/sanitize

fuzz: setup
	@ci/fuzz $(T)

soak: setup
	@ci/soak $(N)

wheel: setup
	@ci/wheel

bench: setup
	@ci/bench

bench-peers: setup
	@ci/bench-peers

gate: setup
	@ci/gate

growth: setup
	@ci/growth

conformance: setup
	@ci/conformance

manual: setup
	@ci/manual

setup:
	@ci/setup

docs: setup
	@ci/docs

clean:
	rm -rf .venv .cache build dist *.egg-info specter/_speedups/*.so specter/_native/sources specter/_native/*/ specter/_native/*.so
