# The image of the three programs for people who have Docker: docker build .
# (with buildx also --platform linux/amd64,linux/arm64). make image builds the
# same without Docker; releases are made by .goreleaser.yaml.
# Workers need an image that has sh or python3.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=""
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/folkmoot/folkmoot/cmd/version.Release=$VERSION" \
    -o /out/ ./cmd/coordinator ./cmd/raftctl ./cmd/worker

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/coordinator /out/raftctl /out/worker /
# A number: of a name nobody can tell that it is not root.
USER 65532:65532
EXPOSE 7300 7370 7380 7390
ENTRYPOINT ["/coordinator"]
