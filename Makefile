.DEFAULT_GOAL := help
.PHONY: help demo dev test storm fuzz fmt lint generate vulns build image manifests chart bench release snapshot ci clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the tour: three coordinators, a job on real input, the leader killed
	go run ./cmd/coordinator demo

dev: ## three coordinators in one process, until interrupted
	go run ./cmd/coordinator dev

test: ## all tests, with the race detector
	go test -race -timeout 20m ./...

storm: ## the long tests: faults and hostile input for many seconds
	go test -race -tags storm -p 1 -run '^TestStorm' ./integration ./raftnode ./router

fuzz: ## every decoder for FUZZTIME (default 30s) each
	bash .ci/fuzz $${FUZZTIME:-30s}

bin/gofumpt bin/staticcheck: tools/go.mod
	go -C tools build -o ../bin/ honnef.co/go/tools/cmd/staticcheck mvdan.cc/gofumpt

fmt: bin/gofumpt ## format
	git ls-files '*.go' | xargs bin/gofumpt -w

lint: bin/gofumpt bin/staticcheck ## what CI checks before the tests
	@test -z "$$(git ls-files '*.go' | xargs bin/gofumpt -l)" || { echo "run make fmt"; exit 1; }
	go vet ./...
	bin/staticcheck ./...

generate: ## write the generated pages of docs/ anew
	go generate ./...

vulns: ## known weaknesses of dependencies, where their database can be reached
	bash .ci/vulns

build: ## bin/coordinator bin/raftctl bin/worker
	go build -trimpath -o bin/ ./cmd/...

IMAGE = folkmoot:latest
PLATFORMS = linux/amd64,linux/arm64

image: ## bin/folkmoot.tar: the container image, without Docker: make image IMAGE=name:tag VERSION=v0.1.0
	go -C tools run ./image -o ../bin/folkmoot.tar -name "$(IMAGE)" -version "$(VERSION)" -platforms "$(PLATFORMS)"

manifests: ## deploy/k8s rendered, and judged as an API server does
	go -C deploy/check test -count=1 ./...

chart: ## the alerts of deploy/k8s and deploy/helm made anew from their sources
	go -C deploy/check run ./cmd/chart

bench: ## beside etcd, in one run: docs/performance.md says what was seen
	go -C bench run . -help

release: ## static binaries with their version: make release VERSION=v0.1.0
	@test -n "$(VERSION)" || { echo "give VERSION=v..."; exit 1; }
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/folkmoot/folkmoot/cmd/version.Release=$(VERSION)" -o bin/release/ ./cmd/...

snapshot: ## all that a release has, without publishing it, in dist/ (wants goreleaser)
	goreleaser release --snapshot --clean --skip=docker,sbom

ci: ## what CI runs
	bash .ci/run

clean: ## remove what was built
	rm -rf bin
