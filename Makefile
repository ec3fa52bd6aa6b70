# make run    installs what it needs and starts the daemon on examples/first-run.yaml
# make test   installs what it needs (Debian packages too, as root) and runs every check and test
# make bench  runs the benchmarks beside their rivals and prints ratios

.PHONY: install packages dashboard run test bench

install: node_modules/.package-lock.json

# npm writes this file last, so that an install that broke off is done again.
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund --loglevel=error
	touch $@

packages:
	sh test/support/install-packages.sh

# What the daemon shows at /, from web/.
dashboard: install
	node_modules/node/bin/node web/build.ts

# The other end of path-a is a process of its own, so that it can be hung and woken: see README.md.
run: dashboard
	bin/linkhold respond --listen 127.0.0.1:7201 --key first-run & responder=$$!; \
	trap 'kill -KILL $$responder 2>/dev/null' EXIT; trap : INT TERM; \
	bin/linkhold run examples/first-run.yaml

test: install packages
	npm test

bench: install
	npm run bench
