# How `sam build` fills a third-party layer: the versions and files of uv.lock, which the hashes prove, wheels for
# Lambda, and no second copy of what is there already (PRESENT), since a function's layers may hold 250 MB together.
UV ?= uv
PLATFORM := --python-version 3.13 --python-platform x86_64-manylinux_2_28 --only-binary :all:

build-%Layer:
	cd ../.. && "$(UV)" export --frozen --quiet --no-default-groups --no-emit-project > "$(ARTIFACTS_DIR)/lock.txt"
	printf '%s\n' $(PRESENT) > "$(ARTIFACTS_DIR)/present.txt"
	"$(UV)" pip compile --quiet requirements.txt --constraints "$(ARTIFACTS_DIR)/lock.txt" \
		--excludes "$(ARTIFACTS_DIR)/present.txt" --no-header --no-annotate $(PLATFORM) -o "$(ARTIFACTS_DIR)/needed.txt"
	awk -F '[[=; ]' 'NR == FNR { needed[$$1]; next } /^[a-z0-9]/ { chosen = $$1 in needed; delete needed[$$1] } chosen; \
		END { for (name in needed) { print name " is not in uv.lock" > "/dev/stderr"; exit 1 } }' \
		"$(ARTIFACTS_DIR)/needed.txt" "$(ARTIFACTS_DIR)/lock.txt" > "$(ARTIFACTS_DIR)/hashed.txt"
	"$(UV)" pip install --quiet --target "$(ARTIFACTS_DIR)/python" $(PLATFORM) --no-deps --require-hashes \
		--requirements "$(ARTIFACTS_DIR)/hashed.txt"
	cd "$(ARTIFACTS_DIR)" && rm -rf lock.txt present.txt needed.txt hashed.txt python/.lock python/bin
	if [ -n "$(EXTENSION)" ]; then unzip -q -o "$(EXTENSION)" 'extensions/*' -d "$(ARTIFACTS_DIR)" && \
		cp "$(EXTENSION_CONFIG)" "$(ARTIFACTS_DIR)/collector.yaml"; fi
