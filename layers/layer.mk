# How `sam build` fills a third-party layer: the versions of uv.lock, wheels for Lambda, and no second copy of what is
# there already (PRESENT), since a function's layers may hold 250 MB together.
UV ?= uv

build-%Layer:
	cd ../.. && "$(UV)" export --frozen --quiet --no-default-groups --no-hashes --no-emit-project > "$(ARTIFACTS_DIR)/lock.txt"
	printf '%s\n' $(PRESENT) > "$(ARTIFACTS_DIR)/present.txt"
	"$(UV)" pip install --quiet --target "$(ARTIFACTS_DIR)/python" --python-version 3.13 \
		--python-platform x86_64-manylinux_2_28 --only-binary :all: --requirements requirements.txt \
		--constraints "$(ARTIFACTS_DIR)/lock.txt" --excludes "$(ARTIFACTS_DIR)/present.txt"
	cd "$(ARTIFACTS_DIR)" && rm -rf lock.txt present.txt python/.lock python/bin
