# The command in an image of its own, for runners that start tools as
# containers. It watches the host it runs on, so it needs the host's processes:
#
#   docker run --rm --privileged --pid=host --network=host \
#     -v /sys/fs/cgroup:/sys/fs/cgroup:ro IMAGE doctor
#
# On a machine, or a node of a cluster, with self-hosted runners the same with
# "service run" records each of their jobs: docs/self-hosted.md says what to
# mount, and examples/actions-runner-controller has a manifest.
#
# GO is an image with Go; GOPROXY where its modules come from.
ARG GO=golang:1.26-bookworm
FROM ${GO} AS build
ARG GOPROXY
ENV GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /edamame-posture ./cmd/edamame-posture

FROM scratch
COPY --from=build /edamame-posture /edamame-posture
COPY LICENSE /LICENSE
ENTRYPOINT ["/edamame-posture"]
