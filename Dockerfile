# The image of a release: GoReleaser puts the static binaries of each platform
# beside this file. Workers need an image that has sh or python3.
FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGETPLATFORM
COPY $TARGETPLATFORM/coordinator $TARGETPLATFORM/raftctl $TARGETPLATFORM/worker /
USER 65532:65532
EXPOSE 7300 7370 7380 7390
ENTRYPOINT ["/coordinator"]
