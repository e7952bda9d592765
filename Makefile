# For developers. People who use the app need only the two commands of the README.
PYTHON ?= .venv/bin/python
GPU ?=

.PHONY: check test bench bench-gpu soak screenshots space tree

check: ## lint and the fast tests, without a browser
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest -q -m "not browser"

test: ## everything
	$(PYTHON) -m pytest

bench: ## the numbers of docs/benchmarks.md that a laptop can measure; raw results in docs/results/
	$(PYTHON) -m benchmarks.app_start --out docs/results/app_start.json
	$(PYTHON) -m benchmarks.demo_bars --out docs/results/demo.json
	$(PYTHON) -m benchmarks.steps --path cpu --repeats 8 --steps 3 --skip 2 --out docs/results/steps_cpu.json
	$(PYTHON) -m benchmarks.evaluation_speed --out docs/results/evaluation_cpu.json
	$(PYTHON) -m benchmarks.rewards --out docs/results/rewards.json
	$(PYTHON) -m benchmarks.answer_check --out docs/results/answer_check.json
	$(PYTHON) -m benchmarks.data --out docs/results/data.json
	$(PYTHON) -m benchmarks.sampler_weights --out docs/results/sampler_weights.json
	$(PYTHON) -m benchmarks.statistics --out docs/results/statistics.json
	$(PYTHON) -m benchmarks.store --out docs/results/store.json
	$(PYTHON) -m benchmarks.live_open --json > docs/results/live_open.json

bench-gpu: ## the numbers that need an NVIDIA GPU
	bash benchmarks/gpu.sh

soak: ## kill workers at random moments, and leave a page open for an hour
	$(PYTHON) -m benchmarks.soak_kills --out docs/results/soak_kills.json
	$(PYTHON) -m benchmarks.live_soak --minutes 60 --json docs/results/live_soak_hour.json

screenshots: ## the README's pictures, from a real demo run in a temporary home (takes minutes)
	$(PYTHON) -m scripts.screenshots

space: ## a folder ready to push to a Hugging Face Space; GPU=1 takes the GPU requirements
	$(PYTHON) -m scripts.make_space --out space $(if $(GPU),--gpu)

tree: ## write the README's list of files from their docstrings
	$(PYTHON) -m scripts.readme_tree
