package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The image is built twice, the same both times, read both ways there are, and
// its coordinator is started from the files of the layer.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	o := options{
		source: "../..", name: "folkmoot:test", version: "v9.8.7", revision: "0123abc", created: time.Unix(1_800_000_000, 0).UTC(),
		platforms: []string{"linux/" + runtime.GOARCH},
	}
	var digests []v1.Hash
	var bytesOf [][]byte
	for _, name := range []string{"one.tar", "two.tar"} {
		o.out = filepath.Join(dir, name)
		d, err := build(o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(o.out)
		if err != nil {
			t.Fatal(err)
		}
		digests, bytesOf = append(digests, d), append(bytesOf, b)
	}
	if digests[0] != digests[1] || !bytes.Equal(bytesOf[0], bytesOf[1]) {
		t.Errorf("built twice it is %s and %s, equal bytes: %t", digests[0], digests[1], bytes.Equal(bytesOf[0], bytesOf[1]))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}

	img := readLayout(t, o, digests[0])
	docker, err := tarball.ImageFromPath(o.out, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	dockerConfig, err := docker.ConfigFile()
	if err != nil || !reflect.DeepEqual(config, dockerConfig) {
		t.Errorf("as a docker archive it is %+v (%v), as a layout %+v", dockerConfig, err, config)
	}
	c := config.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/coordinator"}) || config.OS != "linux" || config.Architecture != runtime.GOARCH {
		t.Errorf("config %+v", config)
	}
	if got := c.Labels["org.opencontainers.image.version"] + c.Labels["org.opencontainers.image.revision"]; got != "v9.8.70123abc" {
		t.Errorf("labels %v", c.Labels)
	}
	checkDockerfile(t, c)
	run := unpack(t, img)
	start(t, run)
}

// readLayout reads the tar file as an OCI layout and checks all its hashes.
func readLayout(t *testing.T, o options, want v1.Hash) v1.Image {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	extract(t, bytes.NewReader(b), dir)
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Digest != want || m.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/folkmoot:test" {
		t.Errorf("the layout has %+v, want %s", m.Manifests, want)
	}
	index, err := top.ImageIndex(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	inner, err := index.IndexManifest()
	if err != nil || len(inner.Manifests) != 1 || inner.Manifests[0].Platform.String() != o.platforms[0] {
		t.Fatalf("the index has %+v, %v", inner, err)
	}
	img, err := index.Image(inner.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// unpack checks what is in the one layer and returns where it was unpacked.
func unpack(t *testing.T, img v1.Image) string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	compressed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer compressed.Close()
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	modes := extract(t, plain, dir)
	want := map[string]int64{"coordinator": 0o755, "raftctl": 0o755, "worker": 0o755, "etc/": 0o755, "etc/group": 0o644, "etc/passwd": 0o644, "tmp/": 0o1777}
	if !maps.Equal(modes, want) {
		t.Errorf("the layer has %v, want %v", modes, want)
	}
	return dir
}

func extract(t *testing.T, from io.Reader, dir string) (modes map[string]int64) {
	t.Helper()
	modes = map[string]int64{}
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return modes
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Uid != 0 || h.Gid != 0 || !filepath.IsLocal(h.Name) {
			t.Fatalf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, b, os.FileMode(h.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// start runs the coordinator of the layer, where it can alone in its file system:
// nothing of this machine is there for it. It must come up and end by SIGTERM.
func start(t *testing.T, root string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(root, "raftctl"), "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "9.8.7") {
		t.Errorf("raftctl --version says %q, %v", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := []string{"serve", "--id", "n1", "--data-dir", "/tmp/data", "--http-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--component-addr", "127.0.0.1:0"}
	cmd := exec.CommandContext(ctx, "/coordinator", args...)
	cmd.Env, cmd.Dir = []string{"PATH=/"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
		for _, dir := range []string{root, filepath.Dir(root)} { // t.TempDir's are closed to others
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("not root: the coordinator is started outside of its layer")
		cmd.Path, cmd.SysProcAttr = filepath.Join(root, "coordinator"), nil
		cmd.Args[4] = filepath.Join(root, "tmp", "data")
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if !strings.Contains(line, "coordinator n1 ready") {
		t.Errorf("it said %q\n%s", line, errs.String())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, errs.String())
	}
}

// checkDockerfile holds the image that people build to the one that is built here.
func checkDockerfile(t *testing.T, c v1.Config) {
	t.Helper()
	b, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	last := func(instruction string) string {
		all := regexp.MustCompile(`(?m)^`+instruction+` (.*)$`).FindAllStringSubmatch(text, -1)
		if len(all) == 0 {
			t.Fatalf("the Dockerfile has no %s", instruction)
		}
		return all[len(all)-1][1]
	}
	if got := last("USER"); got != c.User {
		t.Errorf("the Dockerfile's user is %s, want %s", got, c.User)
	}
	entry, _ := json.Marshal(c.Entrypoint)
	if got := last("ENTRYPOINT"); got != string(entry) {
		t.Errorf("the Dockerfile's entry point is %s, want %s", got, entry)
	}
	for port := range c.ExposedPorts {
		if !strings.Contains(last("EXPOSE"), strings.TrimSuffix(port, "/tcp")) {
			t.Errorf("the Dockerfile does not expose %s", port)
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	if m := regexp.MustCompile(`golang:(\d+\.\d+)`).FindStringSubmatch(text); m == nil || m[1] != want {
		t.Errorf("the Dockerfile builds with Go %v, go.mod wants %s", m, want)
	}
}

// What cannot be is named, and nothing is written.
func TestWrongOptions(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	for want, o := range map[string]options{
		`platform "linux": want os/arch`: {platforms: []string{"linux"}, name: "a:b"},
		`name "folkmoot": want name:tag`: {name: "folkmoot"},
		`name "h:5000/x": want name:tag`: {name: "h:5000/x"},
		"for linux/pdp11":                {platforms: []string{"linux/pdp11"}, name: "a:b"},
	} {
		o.source, o.out = "../..", out
		if _, err := build(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", o, err, want)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := run(options{source: "../..", out: out}); err == nil || !strings.Contains(err.Error(), "seconds since 1970") {
		t.Errorf("a time that is none: %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file was written")
	}
}
